"""Drivers show a view as a drive: the kernel's and libfuse's on Unix, WinFsp's on Windows."""
