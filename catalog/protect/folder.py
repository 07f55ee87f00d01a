"""What can be known of a vault in a folder: its permissions, its disk and its file system."""

from __future__ import annotations

import os
from pathlib import Path

from catalog.mountinfo import mounts
from catalog.store.protection import Fact, State
from catalog.systems.this import SYSTEM

OTHER_USER, PRIVATE, OTHER_DISK, SNAPSHOTS = "another user's folder", "private", "another disk", "snapshots"
_WITHOUT = {"ext2", "ext3", "ext4", "xfs", "vfat", "exfat", "f2fs", "jfs", "reiserfs", "tmpfs", "ntfs", "ntfs3"}
_CAN = {"btrfs", "zfs", "bcachefs"}


def folder_facts(folder: Path, home: Path) -> list[Fact]:
    """What keeps files in a folder. `home` is on the disk of what is backed up, as a rule."""
    try:
        status = folder.stat()
    except OSError as e:
        detail = f"{e.strerror}"
        return [Fact(name, State.UNKNOWN, detail=detail) for name in (OTHER_USER, PRIVATE, OTHER_DISK, SNAPSHOTS)]
    writable = SYSTEM.is_own(status) or os.access(folder, os.W_OK)
    return [
        Fact(
            OTHER_USER,
            State.OFF if writable else State.ON,
            detail="every program of your user can delete the vault"
            if writable
            else "your user can't delete in it",
        ),
        Fact(PRIVATE, State.ON if SYSTEM.is_private(status) else State.OFF),
        _other_disk(status, home),
        _snapshots(status),
    ]


def _other_disk(status: os.stat_result, home: Path) -> Fact:
    try:
        same = home.stat().st_dev == status.st_dev
    except OSError:
        return Fact(OTHER_DISK, State.UNKNOWN)
    return Fact(OTHER_DISK, State.OFF if same else State.ON, detail="compared with your home folder")


def _snapshots(status: os.stat_result) -> Fact:
    """A file system that can make none has none; whether others have some, and a server does, can't be seen."""
    number = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}" if hasattr(os, "major") else ""
    try:
        kind = next((m.file_system for m in reversed(mounts()) if m.device == number), "")
    except OSError:
        kind = ""
    if kind in _WITHOUT:
        detail = f"{kind} makes none; a volume manager or a virtual machine below it may"
        return Fact(SNAPSHOTS, State.OFF, detail=detail)
    return Fact(SNAPSHOTS, State.UNKNOWN, detail=f"{kind or 'this file system'} or its server may make some")
