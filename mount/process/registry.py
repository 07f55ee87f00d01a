"""This user's open drives on this machine: a file for each, written by the drive's process."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from catalog.access.settings import Settings, write_private
from mount.process.base import Processes
from mount.process.files import DriveFiles
from mount.process.rows import DriveInfo, DriveRow, Endpoint, from_json, to_json


class Registry:
    """Files `drives/<digest of the mount point>.json` in the state folder."""

    def __init__(self, settings: Settings, processes: Processes) -> None:
        self._files = DriveFiles(settings)
        self._processes = processes

    def add(self, mount_point: Path, info: DriveInfo, endpoint: Endpoint) -> None:
        """Register a drive of this process. Raises LocalError."""
        row = DriveRow(
            **vars(info), process_start=self._processes.started(info.pid), namespace=self._processes.namespace(),
            **vars(endpoint),
        )  # fmt: skip
        write_private(self._files.row(mount_point), json.dumps(to_json(row)).encode())

    def remove(self, mount_point: Path) -> None:
        """Remove the row of a drive if its process is this one, or has ended."""
        path = self._files.row(mount_point)
        row = _read(path)
        if row is None or row.pid == os.getpid() or not self.is_alive(row):
            path.unlink(missing_ok=True)
            self._files.socket(mount_point).unlink(missing_ok=True)

    def drives(self) -> list[DriveRow]:
        """The drives whose processes run, by mount point. Removes the rows of the others.

        None, if there is no state folder and none can be made. Raises LocalError if it can't be used.
        """
        rows = []
        if not self._files.are_possible():
            return []
        for path in sorted(self._files.rows.glob("*.json")):
            row = _read(path)
            if row is not None and self.is_alive(row):
                rows.append(row)
            else:
                path.unlink(missing_ok=True)
                self._files.socket_of(path).unlink(missing_ok=True)
        return sorted(rows, key=lambda row: row.mount_point)

    def rows(self) -> list[tuple[str, DriveRow, bool]]:
        """Every row: the drive's id, the row, and whether its process runs. Removes nothing. Raises LocalError."""
        if not self._files.are_possible():
            return []
        found = ((path.stem, _read(path)) for path in sorted(self._files.rows.glob("*.json")))
        return [(one, row, self.is_alive(row)) for one, row in found if row is not None]

    def drive_at(self, mount_point: Path) -> DriveRow | None:
        return next((r for r in self.drives() if os.fsencode(r.mount_point) == os.fsencode(mount_point)), None)

    def is_alive(self, row: DriveRow) -> bool:
        """Whether the drive's process runs."""
        return self._processes.is_running(row.pid, row.process_start)

    def is_elsewhere(self, row: DriveRow) -> bool:
        """Whether the drive is mounted in another namespace, e.g. in a container: its mount point is empty here."""
        return row.namespace is not None and row.namespace != self._processes.namespace()

    def await_end(self, row: DriveRow, seconds: float = 5.0) -> bool:
        """Wait for a drive's process to end: it may still wait for the store. False if it hasn't ended."""
        end = time.monotonic() + seconds
        while self.is_alive(row):
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True


def _read(path: Path) -> DriveRow | None:
    try:
        return from_json(DriveRow, path.read_bytes())
    except OSError:
        return None
