"""What `rpdrive unmount` and `rpdrive mounts` do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from catalog.access.session import Session
from catalog.screen.output import print_json, print_table
from catalog.screen.text import duration_text, safe_text, size_text
from mount.place.this import PLACES
from mount.process.control.this import CONTROL
from mount.process.registry import Registry
from mount.process.rows import DriveRow, DriveStatus, info_json, to_json
from mount.process.this import PROCESSES

_COLUMNS = ("MOUNTPOINT", "POINT", "VAULT", "PROCESS>", "UPTIME>", "CLOSES>", "REQUESTS>", "FETCHED>", "SERVED>")


def close(session: Session, mount_point: Path, *, lazy: bool) -> None:
    """Close the drive at a place. `lazy`: although files on it are open. Raises MountFailed."""
    CONTROL.close(_registry(session), mount_point, lazy=lazy)


def close_for_good(
    session: Session, mount_point: Path, *, at_login: bool, service: bool, lazy: bool
) -> Iterator[str]:
    """Remove what opens the drive by itself, and close it; report each step in a line.

    Raises UsageError, MountFailed or LocalError.
    """
    from mount.login.base import of_system
    from mount.login.this import LOGIN

    system = of_system(at_login=at_login, service=service)
    place = PLACES.absolute(mount_point)
    yield safe_text(LOGIN.remove(place, system=system))
    if CONTROL.is_open(_registry(session), place):  # systemd has closed it by now
        close(session, mount_point, lazy=lazy)


class OpenDrive(NamedTuple):
    """A drive that is open: its row in the registry, and its answer if it gives one."""

    row: DriveRow
    status: DriveStatus | None

    def json(self) -> dict[str, Any]:
        known = info_json(self.row)
        return known | (to_json(self.status) if self.status else {}) | {"answers": self.status is not None}

    def cells(self) -> list[str]:
        """A row for the table of drives, see show_drives."""
        row, status = self.row, self.status
        return [
            row.mount_point,
            (row.point or "all")[:8],
            row.vault,
            str(row.pid),
            duration_text(status.uptime) if status else "no answer",
            _closes(status) if status else "-",
            f"{status.store_requests if status else 0:,}",
            size_text(status.bytes_fetched if status else 0),
            size_text(status.bytes_served if status else 0),
        ]


def show_drives(session: Session, *, as_json: bool) -> None:
    """Print this user's drives on this machine. Raises LocalError."""
    drives = [OpenDrive(row, CONTROL.ask(row)) for row in _registry(session).drives()]
    if as_json:
        print_json([drive.json() for drive in drives])
    elif drives:
        print_table(_COLUMNS, [drive.cells() for drive in drives])
    else:
        print("No drives are open")


def _closes(status: DriveStatus) -> str:
    left = [seconds for seconds in (status.idle_left, status.total_left) if seconds is not None]
    return f"in {duration_text(min(left))}" if left else "-"


def _registry(session: Session) -> Registry:
    return Registry(session.settings, PROCESSES)
