"""The calls that a restore makes on its target: those of `os`, with descriptors of folders, whatever the system.

On POSIX `disk` is the module `os` itself, so nothing stands in between. Windows has mount/restore/disk/windows.py
in its place, which has the calls that are used here. What is not a call of `os` stands below.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# What Windows doesn't have as flags counts for nothing there, but that a folder is meant.
DIRECTORY = getattr(os, "O_DIRECTORY", 1 << 24)
NOFOLLOW = getattr(os, "O_NOFOLLOW", 1 << 25)
CLOEXEC = getattr(os, "O_CLOEXEC", 0)
NONBLOCK = getattr(os, "O_NONBLOCK", 0)

if TYPE_CHECKING:
    import os as disk
elif os.name == "nt":
    from mount.restore.disk.windows import WindowsDisk

    disk = WindowsDisk()
else:
    disk = os


def lock(fd: int) -> None:
    """Lock a file for this process. OSError if another has."""
    if disk is not os:
        disk.lock(fd)  # type: ignore[attr-defined]
        return
    import fcntl

    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


__all__ = ["CLOEXEC", "DIRECTORY", "NOFOLLOW", "NONBLOCK", "disk", "lock"]
