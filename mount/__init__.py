"""Drives: their contents, drivers, processes and mount points; and restoring to a disk."""
