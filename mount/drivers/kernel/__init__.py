"""The driver on Linux's own /dev/fuse, without a library."""
