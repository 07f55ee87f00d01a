"""Chooses the driver of a drive: names, the meaning of `auto`, and whether drivers can run on this system.

Commands import this module, so it loads a driver only when one is made or checked.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from catalog.errors import MountFailed, UsageError
from catalog.windows.machine import IS_WINDOWS

if TYPE_CHECKING:
    from cache.reader import Reader
    from mount.drivers.base import Driver
    from mount.view.nodes import View

AUTO = "auto"
NAMES = (AUTO, "kernel", "fuse", "winfsp")
_DEVICE = "/dev/fuse"
_OLDEST_KERNEL = (5, 4)  # speaks FUSE 7.31, which the kernel driver needs


def check_name(name: str) -> None:
    """Raise UsageError if this system has no driver of this name."""
    if name not in NAMES:
        raise UsageError(f"there is no driver {name!r}", f"use one of {', '.join(NAMES)}")
    if IS_WINDOWS and name not in (AUTO, "winfsp"):
        raise UsageError(f"there is no driver {name!r} on Windows", "leave --driver out")


def check_system() -> None:
    """Raise MountFailed if drivers lack something on this system: FUSE or WinFsp, its version, or access to it."""
    if IS_WINDOWS:
        from mount.drivers.winfsp.library import check_version

        check_version()
    elif os.uname().sysname == "Linux":
        if not os.path.exists(_DEVICE):
            raise MountFailed(
                f"there is no {_DEVICE} on this machine",
                "install FUSE (`apt install fuse3`), run `modprobe fuse`, or start the container with the device",
            )
        if not os.access(_DEVICE, os.R_OK | os.W_OK):
            raise MountFailed(f"you may not use {_DEVICE}", "ask for access to it, or run rpdrive as root")


def make_driver(
    name: str, view: View, reader: Reader, *, ready: Callable[[], None], read_timeout: float, disk: bool
) -> Driver:
    """Load the driver of that name, and make it for a view. Raises MountFailed if it lacks a library.

    `ready` is called once the drive is mounted. `read_timeout` (seconds) and `disk` (mount a letter as a local
    disk, not as a network drive) are for WinFsp only.
    """
    if name == AUTO:
        name = _automatic()
    if name == "winfsp":
        from mount.drivers.winfsp.drive import Drive as WinfspDrive

        return WinfspDrive(view, reader, ready=ready, read_timeout=read_timeout, disk=disk)
    if name == "kernel":
        from mount.drivers.kernel.drive import Drive as KernelDrive

        return KernelDrive(view, reader, ready=ready, read_timeout=read_timeout)
    from mount.drivers.libfuse import Drive as FuseDrive

    return FuseDrive(view, reader, ready=ready, read_timeout=read_timeout)


def preload() -> None:
    """Load the automatic driver ahead of need, unless that takes a library that may be missing."""
    if _automatic() == "kernel":
        import mount.drivers.kernel.drive  # noqa: F401


def _automatic() -> str:
    if IS_WINDOWS:
        return "winfsp"
    return "kernel" if _kernel_is_new_enough() else "fuse"


def _kernel_is_new_enough() -> bool:
    system = os.uname()
    if system.sysname != "Linux":
        return False
    try:
        major, minor = (int(part) for part in system.release.split(".")[:2])
    except ValueError:
        return False
    return (major, minor) >= _OLDEST_KERNEL
