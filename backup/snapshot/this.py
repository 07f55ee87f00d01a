"""What can make snapshots on this system."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from backup.snapshot.base import Options, Provider
from catalog.mountinfo import Mount

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


def providers(options: Options, mounts: Sequence[Mount] | None = None) -> list[Provider]:
    """The providers of this system, those first that know their own kind of file system.

    With `mounts`, only those that could take one of them: on most machines there is nothing to load for that.
    """
    if sys.platform == "win32":
        from backup.snapshot.vss.choice import windows_providers
        from catalog.windows.api import Api

        return windows_providers(Api(), options)
    if sys.platform != "linux":
        return []
    found: list[Provider] = []
    kinds = {"btrfs", "zfs"} if mounts is None else {mount.file_system for mount in mounts}
    if "btrfs" in kinds:
        from backup.snapshot.btrfs import Btrfs

        found.append(Btrfs())
    if mounts is None or any(os.path.exists(f"/sys/dev/block/{mount.device}/dm") for mount in mounts):
        from backup.snapshot.lvm import Lvm

        found.append(Lvm(options))
    if "zfs" in kinds:
        from backup.snapshot.zfs import Zfs

        found.append(Zfs(options))
    return found
