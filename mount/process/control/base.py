"""What differs between systems for open drives: how one is asked for its status, and how it is closed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mount.place.base import OpenDrive
from mount.process.registry import Registry
from mount.process.rows import DriveRow, DriveStatus, Endpoint

if TYPE_CHECKING:
    from mount.drivers.base import Driver


class StatusServer(Protocol):
    """Answers requests for a drive's status until it is closed."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it answers, for the registry."""
        ...

    def close(self) -> None: ...


class OwnDrive(OpenDrive, Protocol):
    """A drive of this process."""

    def serve(self, socket: Path, status: Callable[[], DriveStatus]) -> StatusServer:
        """Answer requests, at a socket of this path if the system has such. Raises LocalError."""
        ...


class Control(Protocol):
    """The open drives of one system."""

    def own(self, place: Path, driver: Driver) -> OwnDrive:
        """The drive that a driver shows. Raises MountFailed if this system can't close drives of the driver."""
        ...

    def ask(self, row: DriveRow, timeout: float = 2.0) -> DriveStatus | None:
        """The status of a drive; None if it doesn't answer within `timeout` seconds."""
        ...

    def is_open(self, registry: Registry, place: Path) -> bool:
        """Whether a drive is open at a place, as Places.absolute has it."""
        ...

    def close(self, registry: Registry, place: Path, *, lazy: bool) -> None:
        """Close the drive at a place, as Places.absolute has it, and wait for its process to end.

        `lazy`: although files on it are open. Raises MountFailed, also if the drive is in use.
        """
        ...
