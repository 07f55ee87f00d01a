"""Reads extents as plaintext, quickly: from memory, the disk cache or the store."""
