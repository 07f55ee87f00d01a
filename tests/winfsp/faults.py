"""Where a drive in the background says what was done that Windows would not bear."""

FAULTS = "RPDRIVE_TEST_FAULTS"  # in the environment: a file
