"""Files of a drive's process, named by its mount point: its row in the registry, its socket, its log."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from catalog.access.settings import Settings, private_folder


class DriveFiles:
    """The files of this user's drives. Folders are created on demand; raises LocalError if that fails."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def rows(self) -> Path:
        """The folder of the registry."""
        return private_folder(self._settings.state / "drives")

    def are_possible(self) -> bool:
        """Whether there is a state folder, or it could be made. Raises LocalError if it can't be used."""
        return self._settings.state_to_read.exists()

    @staticmethod
    def id_of(mount_point: Path) -> str:
        """What names the files of a drive."""
        return _key(mount_point)

    def row(self, mount_point: Path) -> Path:
        return self.rows / f"{_key(mount_point)}.json"

    def lock(self, mount_point: Path) -> Path:
        """The file that is locked while a drive is being mounted."""
        return self.rows / f"{_key(mount_point)}.lock"

    def log(self, mount_point: Path) -> Path:
        """The file in which the drive's process logs errors."""
        return private_folder(self._settings.state / "logs") / f"drive-{_key(mount_point)}.log"

    def socket(self, mount_point: Path) -> Path:
        return self._settings.run / f"drive-{_key(mount_point)}.sock"

    def socket_of(self, row: Path) -> Path:
        """The socket of the drive that has this row."""
        return self._settings.run / f"drive-{row.stem}.sock"


def _key(mount_point: Path) -> str:
    return hashlib.sha256(os.fsencode(mount_point)).hexdigest()[:16]
