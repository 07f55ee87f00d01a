"""The end of a roll-back: removes what was listed, if it is still what was listed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from mount.restore.disk.base import Disk
from mount.restore.disk.flags import CLOEXEC, DIRECTORY, NOFOLLOW
from mount.restore.report import Report
from mount.restore.target import Handle
from mount.restore.volume.surplus import Row

_FOLDER = os.O_RDONLY | DIRECTORY | NOFOLLOW | CLOEXEC
CHANGED = "it changed after it was listed, and stays; run the command again"
NOT_EMPTY = "files came into it after it was listed, and stay; run the command again"


class _Open(NamedTuple):
    """An open folder, its name, and its mtime (ns) before anything in it was removed."""

    name: bytes
    handle: Handle
    time: int


class Removal:
    """Removes rows below an open folder. Folders on the way are opened step by step, and no link is followed."""

    def __init__(self, disk: Disk, top: Handle, report: Report) -> None:
        self._disk, self._top, self._report = disk, top, report
        self._way: list[_Open] = []  # the folders that are open, from the top down
        self._top_time = self._disk.fstat(top.fd).st_mtime_ns
        self._renumbers: dict[int, bool] = {}

    def run(self, rows: Iterable[Row]) -> None:
        """Remove rows; what is in a folder comes before it. What can't be removed is reported."""
        for row in rows:
            self._report.path = row.path
            try:
                if self._remove(row):
                    self._report.removed += 1
                    self._report.removed_bytes += 0 if row.is_folder else row.size
            except FileNotFoundError:
                continue  # somebody else removed it
            except OSError as e:
                self._report.problem(row.path, _reason(e))
        self._leave(0)
        self._set_time(self._top.fd, self._top_time)

    def _remove(self, row: Row) -> bool:
        above, _, name = row.path.rpartition(b"/")
        with self._folder(above) as folder:
            st = self._disk.lstat(name, dir_fd=folder)
            if not row.is_unchanged(st, renumbers=self._has_no_numbers(st.st_dev)):
                self._report.problem(row.path, CHANGED)
                return False
            if row.is_folder:
                self._disk.rmdir(name, dir_fd=folder)
            else:
                self._disk.unlink(name, dir_fd=folder)
        return True

    def _folder(self, path: bytes) -> Handle:
        names = path.split(b"/") if path else []
        way = self._way
        same = 0
        while same < min(len(way), len(names)) and way[same].name == names[same]:
            same += 1
        self._leave(same)
        for name in names[same:]:
            with way[-1].handle if way else self._top as above:
                handle = Handle(self._disk, self._disk.open(name, _FOLDER, dir_fd=above))
            way.append(_Open(name, handle, self._disk.fstat(handle.fd).st_mtime_ns))
        return way[-1].handle if way else self._top

    def _leave(self, depth: int) -> None:
        """Close the folders below a depth; each has the time again that it had before something went."""
        while len(self._way) > depth:
            last = self._way.pop()
            self._set_time(last.handle.fd, last.time)

    def _set_time(self, fd: int, time: int) -> None:
        with suppress(OSError):
            if self._disk.fstat(fd).st_mtime_ns != time:
                self._disk.set_time(fd, time)

    def _has_no_numbers(self, device: int) -> bool:
        found = self._renumbers.get(device)
        if found is None:
            found = self._renumbers[device] = self._disk.renumbers(device)
        return found


def _reason(e: OSError) -> str:
    if e.errno in (errno.ENOTEMPTY, errno.EEXIST):
        return NOT_EMPTY
    if e.errno in (errno.ELOOP, errno.ENOTDIR):
        return CHANGED
    return f"it could not be removed: {e.strerror or e}"
