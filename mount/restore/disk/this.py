"""Chooses the disk interface of the operating system that this process runs on."""

from __future__ import annotations

import os

from mount.restore.disk.base import Disk

if os.name == "nt":
    from mount.restore.disk.windows import WindowsDisk

    THIS_DISK: Disk = WindowsDisk()
else:
    from mount.restore.disk.posix import PosixDisk

    THIS_DISK = PosixDisk()
