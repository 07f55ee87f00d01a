"""Drives on Linux and other POSIX systems: a socket answers, the table of mounts knows what is open.

So a drive can be closed without its process, which may be dead or not answer.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.errors import MountFailed
from mount.place import mounted
from mount.place.base import Identity, User
from mount.place.held import HeldFolder
from mount.process.control.socket_status import SocketServer, ask
from mount.process.registry import Registry
from mount.process.rows import DriveRow, DriveStatus

if TYPE_CHECKING:
    from mount.drivers.base import Driver


class MountedDrive:
    """Implements OwnDrive on POSIX."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def hold(self, identity: Identity | None) -> HeldFolder:
        return HeldFolder(self.place, identity)

    def unmount(self) -> int:
        return mounted.unmount(self.place, lazy=False)

    def detach(self) -> None:
        mounted.detach(self.place)

    def users(self) -> list[User]:
        return mounted.users_of(self.place)

    def serve(self, socket: Path, status: Callable[[], DriveStatus]) -> SocketServer:
        return SocketServer(socket, status)


class PosixControl:
    """Implements Control on POSIX."""

    def own(self, place: Path, driver: Driver) -> MountedDrive:
        return MountedDrive(place)

    def ask(self, row: DriveRow, timeout: float = 2.0) -> DriveStatus | None:
        return ask(Path(row.socket), timeout) if row.socket is not None else None

    def is_open(self, registry: Registry, place: Path) -> bool:
        return mounted.file_system_at(place) == mounted.FILE_SYSTEM

    def close(self, registry: Registry, place: Path, *, lazy: bool) -> None:
        drive = registry.drive_at(place)
        if drive is not None and registry.is_elsewhere(drive) and not self.is_open(registry, place):
            raise MountFailed(
                f"the drive at {place} is mounted in another mount namespace",
                f"end its process: `kill {drive.pid}`",
            )
        _unmount(place, lazy=lazy)
        if drive is not None and not lazy:
            registry.await_end(drive)
        registry.remove(place)


def _unmount(place: Path, *, lazy: bool) -> None:
    """Unmount the drive at a place. Raises MountFailed."""
    if mounted.file_system_at(place) != mounted.FILE_SYSTEM:
        raise MountFailed(f"no rpdrive drive is mounted at {place}", "see `rpdrive mounts`")
    if lazy or mounted.is_stale(place):
        mounted.detach(place)
        return
    number = mounted.unmount(place, lazy=False)
    if number == errno.EBUSY:
        users = mounted.users_of(place)
        shown = ", ".join(map(str, users[:5])) or "a process that you can't see"
        more = f" and {len(users) - 5} more" if len(users) > 5 else ""
        advice = "leave it and try again, or detach it at once with --lazy"
        if users and not users[0].pid:
            advice = "run `rpdrive loop detach` for each loop device (docs/images.md), then try again"
        raise MountFailed(f"the drive at {place} is in use by {shown}{more}", advice)
    if number:
        raise MountFailed(
            f"{place} can't be unmounted: {os.strerror(number)}", "only the user who mounted it, or root, can"
        )
