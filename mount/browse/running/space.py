"""The room on file systems, and what a restore needs of it."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress

from mount.browse.running.status import LONGEST, Room

_FOLDERS = 4096  # whose file systems are remembered
_ROOMS = 20  # file systems that are named


class Space:
    """Adds up what is to be written, by file system. A file that is replaced needs room for both at once."""

    def __init__(self) -> None:
        self._devices: dict[int, _Device] = {}
        self._folders: dict[bytes, _Device] = {}

    def add(self, path: bytes, size: int, *, replaces: bool) -> None:
        """A file of `size` bytes is to be written at a path."""
        device = self._device(os.path.dirname(path))
        if device is None:
            return
        there = _held(path) if replaces else 0
        wanted = -(-size // device.block) * device.block
        device.most = max(device.most, device.needed + wanted)
        device.needed += wanted - there

    def rooms(self) -> list[Room]:
        """The file systems that are written to, those without enough room first."""
        found = [Room(d.place[:LONGEST], d.free, max(d.most, d.needed)) for d in self._devices.values()]
        return sorted(found, key=lambda room: room.free - room.needed)[:_ROOMS]

    def numbers(self) -> list[str]:
        """The numbers of these file systems: others, once a disk is mounted or unmounted at the target."""
        return sorted(map(str, self._devices))

    def _device(self, folder: bytes) -> _Device | None:
        found = self._folders.get(folder)
        if found is None:
            with suppress(OSError):
                found = self._look(folder)
                if len(self._folders) >= _FOLDERS:
                    self._folders.clear()
                self._folders[folder] = found
        return found

    def _look(self, folder: bytes) -> _Device:
        place = existing(folder)
        number = os.stat(place).st_dev
        if number not in self._devices:
            self._devices[number] = _Device(place)
        return self._devices[number]


class _Device:
    """`needed` is what is used at the end, and `most` what is used on the way, in bytes."""

    __slots__ = ("block", "free", "most", "needed", "place")

    def __init__(self, place: bytes) -> None:
        """Raises OSError."""
        self.place, self.free, self.block = place, free_bytes(place), _block(place)
        self.needed = self.most = 0


def free_bytes(place: bytes) -> int:
    """What this user may still write to a file system: root also uses what it sets aside. Raises OSError."""
    if os.name == "nt":
        return shutil.disk_usage(os.fsdecode(place)).free
    st = os.statvfs(place)
    return (st.f_bfree if os.geteuid() == 0 else st.f_bavail) * st.f_frsize


def _block(place: bytes) -> int:
    return 4096 if os.name == "nt" else os.statvfs(place).f_frsize or 4096


def _held(path: bytes) -> int:
    """What a file takes up."""
    try:
        st = os.lstat(path)
    except OSError:
        return 0
    return st.st_size if os.name == "nt" else st.st_blocks * 512


def existing(folder: bytes) -> bytes:
    """The folder, or the nearest above it that exists."""
    while True:
        try:
            os.stat(folder)
            return folder
        except OSError as e:
            above = os.path.dirname(folder)
            if e.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP) or above == folder:
                return folder
            folder = above
