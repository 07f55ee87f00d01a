"""The drives of this user on this machine: a file for each, written by its process."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from catalog.access.settings import Settings, private_folder, write_private
from catalog.windows import machine as windows


class Registry:
    """Files `drives/<digest of the mount point>.json` in the state folder, and what belongs to each drive."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def _key(self, mount_point: Path) -> str:
        return hashlib.sha256(os.fsencode(mount_point)).hexdigest()[:16]

    @property
    def _folder(self) -> Path:
        return private_folder(self._settings.state / "drives")

    def log_path(self, mount_point: Path) -> Path:
        """Where the drive's process writes what went wrong. LocalError."""
        return private_folder(self._settings.state / "logs") / f"drive-{self._key(mount_point)}.log"

    def socket_path(self, mount_point: Path) -> Path:
        return self._settings.run / f"drive-{self._key(mount_point)}.sock"

    def add(self, mount_point: Path, row: dict[str, Any]) -> None:
        """Note a drive of this process. LocalError."""
        own = {"mount_point": os.fsencode(mount_point).decode(errors="surrogateescape"), "pid": os.getpid()}
        row = own | {"process_start": process_start(os.getpid())} | row
        write_private(self._folder / f"{self._key(mount_point)}.json", json.dumps(row).encode())

    def remove(self, mount_point: Path) -> None:
        """Forget a drive, if it is of this process or dead."""
        path = self._folder / f"{self._key(mount_point)}.json"
        row = _read(path)
        if row is None or row["pid"] == os.getpid() or not _alive(row):
            path.unlink(missing_ok=True)
            self.socket_path(mount_point).unlink(missing_ok=True)

    def drives(self) -> list[dict[str, Any]]:
        """The drives whose process lives, by mount point. Dead ones are dropped."""
        rows = []
        for path in sorted(self._folder.glob("*.json")):
            row = _read(path)
            if row is not None and _alive(row):
                rows.append(row)
            else:
                path.unlink(missing_ok=True)
                (self._settings.run / f"drive-{path.stem}.sock").unlink(missing_ok=True)
        return sorted(rows, key=lambda row: str(row["mount_point"]))

    def drive_at(self, mount_point: Path) -> dict[str, Any] | None:
        return next((r for r in self.drives() if os.fsencode(r["mount_point"]) == os.fsencode(mount_point)), None)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        row = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return row if isinstance(row, dict) and {"pid", "process_start", "mount_point"} <= row.keys() else None


def _alive(row: dict[str, Any]) -> bool:
    return is_running(int(row["pid"]), row["process_start"])


def is_running(pid: int, started: str | None) -> bool:
    """Whether the process still is the one that started then: ids are used again."""
    if windows.IS_WINDOWS:  # where os.kill ends a process, whatever the signal
        return started is not None and windows.process_start(pid) == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return process_start(pid) == started


def process_start(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None if it has ended, or where /proc is missing."""
    if windows.IS_WINDOWS:
        return windows.process_start(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] == b"Z" else fields[19].decode()


def await_end(row: dict[str, Any], seconds: float = 5.0) -> bool:
    """Wait for a drive's process to end, up to some seconds: it may still wait for the store."""
    end = time.monotonic() + seconds
    while _alive(row):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
