"""Folders as one file: tar and zip archives, as their bytes. Without HTTP."""
