"""Copying recovery points back to a disk, in the order in which packs hold them."""
