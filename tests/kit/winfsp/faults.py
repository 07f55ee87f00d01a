"""What drives in the background tell of the stand-in, by files of one folder."""

FOLDER = "RPDRIVE_TEST_WINFSP"  # in the environment
RAN = "ran"  # there once a drive was mounted by way of the bridge
FAULTS = "faults"  # there if something was done that Windows would not bear
