"""The interface to the operating system for open drives: asking one for its status, and closing it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mount.place.base import Held, Identity, OpenDrive
from mount.process.registry import Registry
from mount.process.rows import DriveRow, DriveStatus, Endpoint

if TYPE_CHECKING:
    from mount.drivers.base import Driver


class StatusServer(Protocol):
    """Answers requests for a drive's status until it is closed."""

    @property
    def endpoint(self) -> Endpoint:
        """The address of this server, for the registry."""
        ...

    def close(self) -> None: ...


class OwnDrive(OpenDrive, Protocol):
    """A drive of this process."""

    def hold(self, identity: Identity | None) -> Held:
        """Hold its place, which is free, see Places.hold. Raises MountFailed."""
        ...

    def serve(self, socket: Path, status: Callable[[], DriveStatus]) -> StatusServer:
        """Start to answer status requests; on POSIX, on a socket with this path. Raises LocalError."""
        ...


class Control(Protocol):
    """Controls the open drives of one operating system."""

    def own(self, place: Path, driver: Driver) -> OwnDrive:
        """The drive that a driver shows. Raises MountFailed if this system can't close drives of the driver."""
        ...

    def ask(self, row: DriveRow, timeout: float = 2.0) -> DriveStatus | None:
        """The status of a drive; None if it doesn't answer within `timeout` seconds."""
        ...

    def is_open(self, registry: Registry, place: Path) -> bool:
        """Whether a drive is open at a place (from Places.absolute)."""
        ...

    def close(self, registry: Registry, place: Path, *, lazy: bool) -> None:
        """Close the drive at a place (from Places.absolute), and wait for its process to end.

        `lazy`: even if files on it are open. Raises MountFailed, also if the drive is in use.
        """
        ...
