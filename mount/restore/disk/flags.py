"""Flags for `Disk.open`. Where the system lacks a flag, its value is one that `os.open` never uses, or 0."""

from __future__ import annotations

import os

DIRECTORY = getattr(os, "O_DIRECTORY", 1 << 24)
NOFOLLOW = getattr(os, "O_NOFOLLOW", 1 << 25)
CLOEXEC = getattr(os, "O_CLOEXEC", 0)
NONBLOCK = getattr(os, "O_NONBLOCK", 0)
PATH = getattr(os, "O_PATH", 0)
