"""Drives on Windows: a pipe answers and closes the drive, since only its own process knows what is open on it."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.errors import MountFailed
from catalog.screen.text import counted
from mount.place.base import Identity, User
from mount.place.windows import HeldPlace
from mount.process.control.pipe_status import PipeServer, ask, ask_to_close, free_pipe
from mount.process.registry import Registry
from mount.process.rows import DriveRow, DriveStatus

if TYPE_CHECKING:
    from mount.drivers.base import Closable, Driver


class ClosableDrive:
    """Implements OwnDrive on Windows."""

    def __init__(self, place: Path, drive: Closable, free_pipe: Callable[[], str] = free_pipe) -> None:
        self.place = place
        self._drive = drive
        self._free_pipe = free_pipe

    def hold(self, identity: Identity | None) -> HeldPlace:
        return HeldPlace(self.place)

    def unmount(self) -> int:
        if self._drive.handles:
            return errno.EBUSY
        self._drive.stop()
        return 0

    def detach(self) -> None:
        self._drive.stop()

    def users(self) -> list[User]:
        """See OwnDrive. A file system on Windows can't see which processes have handles, only the handles."""
        return [User(0, f"{self._drive.handles} open handles")] if self._drive.handles else []

    def serve(self, socket: Path, status: Callable[[], DriveStatus]) -> PipeServer:
        return PipeServer(self._free_pipe(), status, self.close)

    def close(self, lazy: bool) -> str:
        """Close the drive. Returns why that is refused, or ""."""
        if lazy:
            self.detach()
            return ""
        if self.unmount() == 0:
            return ""
        return counted(self._drive.handles, "open file or folder", "open files or folders")


def _terminate(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)  # on Windows: TerminateProcess


class WindowsControl:
    """Implements Control on Windows. `free_pipe` returns a name for a new pipe, `end` ends a process."""

    def __init__(
        self,
        *,
        free_pipe: Callable[[], str] = free_pipe,
        end: Callable[[int], None] = _terminate,
    ) -> None:
        self._free_pipe = free_pipe
        self._end = end

    def own(self, place: Path, driver: Driver) -> ClosableDrive:
        if driver.closable is None:
            raise MountFailed(f"a drive of the driver {driver.name} can't be closed on Windows", "use `winfsp`")
        return ClosableDrive(place, driver.closable, self._free_pipe)

    def ask(self, row: DriveRow, timeout: float = 2.0) -> DriveStatus | None:
        return ask(row.pipe, row.token, timeout) if row.pipe is not None and row.token is not None else None

    def is_open(self, registry: Registry, place: Path) -> bool:
        return registry.drive_at(place) is not None

    def close(self, registry: Registry, place: Path, *, lazy: bool) -> None:
        """See Control. With `lazy`, ends a process that doesn't answer: WinFsp then unmounts its drive."""
        row = registry.drive_at(place)
        if row is None or row.pipe is None or row.token is None:
            raise MountFailed(f"no rpdrive drive is at {place}", "see `rpdrive mounts`")
        refusal = ask_to_close(row.pipe, row.token, lazy=lazy)
        if refusal is None:
            if not lazy:
                raise MountFailed(
                    f"the drive at {row.mount_point} does not answer", "try again, or end it with --lazy"
                )
            if registry.is_alive(row):
                self._end(row.pid)
        elif refusal:
            raise MountFailed(
                f"the drive at {place} is in use: {refusal}",
                "leave it and try again, or close it at once with --lazy",
            )
        registry.await_end(row)
