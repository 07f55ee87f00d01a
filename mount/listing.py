"""Runs `rpdrive mounts`: lists the open drives, as text and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from catalog.access.session import Session
from catalog.screen.output import print_json, print_table
from catalog.screen.text import counted, duration_text, safe_text, size_text
from mount.process.control.this import CONTROL
from mount.process.files import DriveFiles
from mount.process.registry import Registry
from mount.process.rows import DriveRow, DriveStatus, info_json, to_json
from mount.process.this import PROCESSES

_COLUMNS = ("MOUNTPOINT", "POINT", "VAULT", "PROCESS>", "UPTIME>", "CLOSES>", "REQUESTS>", "FETCHED>", "SERVED>")


class OpenDrive(NamedTuple):
    """A drive that is open: its row in the registry, and its answer if it gives one."""

    row: DriveRow
    status: DriveStatus | None
    elsewhere: bool  # in another namespace of mounts

    def json(self) -> dict[str, Any]:
        known = info_json(self.row)
        known |= to_json(self.status) if self.status else {}
        return known | {"answers": self.status is not None, "elsewhere": self.elsewhere}

    def cells(self) -> list[str]:
        """A row for the table of drives, see show_drives."""
        row, status = self.row, self.status
        return [
            row.mount_point + (" (in another mount namespace)" if self.elsewhere else ""),
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
    registry = Registry(session.settings, PROCESSES)
    drives = [OpenDrive(row, CONTROL.ask(row), registry.is_elsewhere(row)) for row in registry.drives()]
    if as_json:
        print_json([drive.json() for drive in drives])
    elif drives:
        print_table(_COLUMNS, [drive.cells() for drive in drives])
        for drive in drives:
            if drive.status is not None and drive.status.overdue:
                print(safe_text(_overdue(session, drive.row.mount_point, drive.status.overdue)))
            if drive.status is not None and drive.status.forgotten_until is not None:
                print(safe_text(_forgotten(drive.row, drive.status.forgotten_until)))
            if drive.status is not None and drive.status.reading_from is not None:
                from_where = f"{drive.row.vault} does not answer: reading from {drive.status.reading_from}"
                print(safe_text(f"{drive.row.mount_point}: {from_where}"))
    else:
        print("No drives are open")


def _overdue(session: Session, mount_point: str, number: int) -> str:
    log = DriveFiles(session.settings).log(Path(mount_point))
    return f"{counted(number, 'request')} of {mount_point} had no answer in time; the drive's log says why: {log}"


def _forgotten(row: DriveRow, until: str) -> str:
    point = (row.point or "")[:8]
    if until == "now":
        return f"the point {point} of {row.mount_point} is gone: what is not cached may soon be missing"
    what = f"the point {point} of {row.mount_point} was forgotten, and stays until {until}"
    return f"{what}; `rpdrive undelete` keeps it"


def _closes(status: DriveStatus) -> str:
    left = [seconds for seconds in (status.idle_left, status.total_left) if seconds is not None]
    return f"in {duration_text(min(left))}" if left else "-"
