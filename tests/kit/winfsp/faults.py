"""How background drives report to the tests about the stand-in: files in one folder."""

FOLDER = "RPDRIVE_TEST_WINFSP"  # in the environment
RAN = "ran"  # there once a drive was mounted by way of the bridge
FAULTS = "faults"  # there if something was done that Windows would not bear
