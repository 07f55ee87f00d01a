"""Mounts of loop devices, by the kernel's own calls."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from catalog.errors import MountFailed
from catalog.mountinfo import Mount, mounts

_RDONLY, _NOSUID, _NODEV = 1, 2, 4
_NOFOLLOW = 8  # of umount2


def mount(device: Path, place: Path, kind: str, options: str) -> int:
    """Mount a device read-only, without its set-user-id bits and device files. Returns 0, or an errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = ctypes.c_ulong(_RDONLY | _NOSUID | _NODEV)
    done = libc.mount(os.fsencode(device), os.fsencode(place), kind.encode(), flags, options.encode())
    return ctypes.get_errno() if done else 0


def unmount(place: bytes) -> None:
    """Unmount what is at a place. Raises MountFailed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(place, _NOFOLLOW):
        number = ctypes.get_errno()
        shown = os.fsdecode(place)
        if number == errno.EBUSY:
            raise MountFailed(f"{shown} is in use", f"leave it (`fuser -vm {shown}` says who uses it), try again")
        raise MountFailed(f"{shown} can't be unmounted: {os.strerror(number)}", "run this as root")


def of_device(path: Path) -> list[Mount]:
    """The mounts of a loop device and of its partitions, the last one first."""
    own, part = os.fsencode(path), os.fsencode(path) + b"p"
    return [m for m in reversed(mounts()) if m.source == own or m.source.startswith(part)]
