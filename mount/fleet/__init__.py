"""Checks, prunes, tests and restores a vault by many processes or machines."""
