"""The driver on WinFsp, through winfspy."""
