"""Snapshots: a file system as it was at one instant, to be read in place of its live files."""
