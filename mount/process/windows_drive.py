"""A drive on Windows as its own process sees it: there is no table of mounts to go by, but its open handles."""

from __future__ import annotations

import errno
from pathlib import Path

from mount.drivers.base import Closable
from mount.place.posix import User
from mount.process.lifetime import Mounted


class OpenDrive(Mounted):
    """A drive of this process."""

    def __init__(self, place: Path, drive: Closable) -> None:
        super().__init__(place)
        self._drive = drive

    def take_off(self) -> int:
        if self._drive.handles:
            return errno.EBUSY
        self._drive.stop()
        return 0

    def detach(self) -> None:
        self._drive.stop()

    def users(self) -> list[User]:
        """Windows doesn't tell a file system whose handles they are."""
        return [User(0, f"{self._drive.handles} open handles")] if self._drive.handles else []

    def close(self, lazy: bool) -> str:
        """Close the drive for somebody; why it was not, or nothing."""
        if lazy:
            self.detach()
            return ""
        if self.take_off() == 0:
            return ""
        count = self._drive.handles
        return f"{count} file{'s' if count > 1 else ''} or folder{'s' if count > 1 else ''} of it open somewhere"
