"""What can make snapshots on this system."""

from __future__ import annotations

import os
import sys

from backup.snapshot.base import Options, Provider

NEEDS_ROOT = "only root can make snapshots"


def barred() -> str:
    """Why this process can make no snapshots of files; empty if it may."""
    if sys.platform == "win32":
        from backup.snapshot.vss.provider import rights
        from catalog.windows.api import Api

        return rights(Api())
    if sys.platform != "linux":
        return "there are no snapshots on this system"
    return "" if os.geteuid() == 0 else NEEDS_ROOT


def providers(options: Options) -> list[Provider]:
    """The providers of this system, those first that know their own kind of file system."""
    if sys.platform == "win32":
        from backup.snapshot.vss.choice import windows_providers
        from catalog.windows.api import Api

        return windows_providers(Api(), options)
    if sys.platform != "linux":
        return []
    from backup.snapshot.btrfs import Btrfs
    from backup.snapshot.lvm import Lvm
    from backup.snapshot.zfs import Zfs

    return [Btrfs(), Lvm(options), Zfs(options)]
