"""Restore tests: random files of a recovery point, read back as a restore would, and compared. docs/check.md."""
