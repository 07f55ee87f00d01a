"""The driver on WinFsp."""
