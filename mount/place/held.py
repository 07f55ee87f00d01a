"""A folder that a drive will be mounted at, by its descriptor: names can be exchanged until the mount is done.

Root may mount in a folder above which others can rename and link, e.g. in a user's home. Between the look at the
mount point and the mount there is time, e.g. while a passphrase is typed, in which they could put a symlink in its
place: the drive would cover any folder of the system that they like.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

from catalog.errors import MountFailed
from catalog.mountinfo import mounts
from mount.place.base import Identity, check_empty
from mount.place.mounted import FILE_SYSTEM, MNT_DETACH, UMOUNT_NOFOLLOW, already_mounted, file_system_at

_OWN = Path("/proc/self/fd")


class HeldFolder:
    """Implements Held on POSIX."""

    def __init__(self, place: Path, identity: Identity | None = None) -> None:
        """Hold an empty folder; `place` is absolute and has no symlinks. Raises MountFailed."""
        self._place = place
        try:
            self._descriptor = _opened(place)
        except OSError as e:
            raise MountFailed(
                f"the mount point {place} can't be opened: {e.strerror}", "check that nobody else changes it"
            ) from e
        status = os.fstat(self._descriptor)
        self.identity: Identity = status.st_dev, status.st_ino
        try:
            if file_system_at(place) == FILE_SYSTEM:
                raise already_mounted(place)
            if identity is not None and self.identity != identity:
                raise MountFailed(
                    f"the mount point {place} was exchanged for another folder meanwhile",
                    "name a folder above which nobody else can change anything",
                )
            own = _OWN / str(self._descriptor)
            self._has_own_name = own.exists()  # with /proc, on Linux
            check_empty(own if self._has_own_name else place, place)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        # fusermount, which mounts for users, wants the true path, and checks it as that user.
        by_descriptor = self._has_own_name and os.geteuid() == 0
        return str(_OWN / str(self._descriptor)) if by_descriptor else str(self._place)

    def check(self) -> None:
        try:
            there = [m.file_system for m in mounts() if m.place == os.fsencode(self._place)]
        except OSError:
            return  # no table of mounts: not Linux
        if there[-1:] != [FILE_SYSTEM]:
            raise MountFailed(
                f"the mount point {self._place} was moved while the drive was mounted",
                "name a folder above which nobody else can change anything",
            )
        if there.count(FILE_SYSTEM) > 1:
            raise MountFailed(
                f"another drive was mounted at {self._place} at the same time", "see `rpdrive mounts`"
            )

    def undo(self) -> None:
        if not self.path.startswith(str(_OWN)):
            return  # its process ends, which ends the drive
        with suppress(OSError):
            name = os.readlink(self.path).rpartition("/")[2]
            above = os.open("..", _folder_flags(), dir_fd=self._descriptor)
            try:
                # The last name is not followed, and the folder that has it is this one's.
                place = os.fsencode(_OWN / str(above) / name)
                ctypes.CDLL(None).umount2(place, MNT_DETACH | UMOUNT_NOFOLLOW)
            finally:
                os.close(above)

    def close(self) -> None:
        os.close(self._descriptor)


def _opened(place: Path) -> int:
    """A descriptor of a folder, by the names on its path, none of which may be a symlink. Raises OSError."""
    flags = _folder_flags()
    descriptor = os.open("/", flags)
    for name in place.parts[1:]:
        above = descriptor
        try:
            descriptor = os.open(name, flags, dir_fd=above)
        finally:
            os.close(above)
    return descriptor


def _folder_flags() -> int:
    return getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
