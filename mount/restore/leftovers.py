"""Temporary files of restores that ended early: large files are continued, the others removed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeAlias

from catalog.format.packs import Extent
from mount.restore.contents import has_piece
from mount.restore.disk.base import Metadata
from mount.restore.disk.flags import CLOEXEC, NOFOLLOW, NONBLOCK
from mount.restore.file_plan import FilePlan
from mount.restore.file_writer import FileWriter, mark
from mount.restore.folder import Folder, Identity
from mount.restore.report import Report
from mount.restore.spool import Bits
from mount.restore.target import Handle, Target
from mount.restore.temporary_names import TemporaryNames

Extents: TypeAlias = Callable[[], Iterator[tuple[int, Extent]]]  # the pieces of a file, again at each call
_AGAIN = os.O_RDWR | NOFOLLOW | CLOEXEC | NONBLOCK
_READ = os.O_RDONLY | NOFOLLOW | CLOEXEC | NONBLOCK


class Leftovers:
    """Finds and removes temporary files of `earlier` jobs, which have ended, and of no others.

    A file that the recovery point itself holds under such a name is the user's: see `keep`.
    """

    def __init__(
        self,
        target: Target,
        metadata: Metadata,
        files: FileWriter | None,
        earlier: list[TemporaryNames],
        chunk_id: Callable[[bytes], bytes],
        report: Report,
    ) -> None:
        self._target, self._disk = target, target.disk
        self._metadata, self._files = metadata, files
        self._earlier = earlier
        self._chunk_id, self._report = chunk_id, report
        self._kept: set[tuple[int, bytes]] = set()  # folder number, name
        self._found: list[tuple[Folder, bytes]] = []

    def keep(self, folder: Folder, name: bytes) -> None:
        """Leave this name alone: the recovery point has an entry of that name."""
        self._kept.add((folder.number, name))

    def resume(self, file: FilePlan, extents: Extents) -> Bits | None:
        """Which of a file's pieces must still be fetched, if an earlier run began it; None if it did not.

        Sets `file.temporary`, and `file.todo` to the bytes of those pieces.
        """
        wanted = [names.name(mark(file)) for names in self._earlier]
        if self._files is None or not wanted:
            return None
        for name in self._target.leftovers(file.folder):
            if name not in wanted or (file.folder.number, name) in self._kept:
                continue
            handle = self._open(file.folder, name, self._metadata.first_mode(file.attributes, plain=False))
            if handle is None:
                continue
            found = self._missing(file, handle.fd, extents)
            if found is None:
                continue
            missing, todo = found
            file.temporary = name, Identity.of(self._disk.fstat(handle.fd))
            self._files.continues(file, handle)
            self._kept.add((file.folder.number, name))
            with self._report.lock:
                self._report.same_bytes += file.todo - todo
            file.todo = todo
            return missing
        return None

    def _open(self, folder: Folder, name: bytes, mode: int) -> Handle | None:
        """The file, locked; None if it is not one that this user made with this mode, or if it is in use."""
        with suppress(OSError), self._target.handle(folder) as parent:
            handle = Handle(self._disk, self._disk.open(name, _AGAIN, dir_fd=parent))
            self._disk.lock(handle.fd)
            if self._target.is_own(handle.fd, None, mode, parent):
                return handle
        return None

    def _missing(self, file: FilePlan, fd: int, extents: Extents) -> tuple[Bits, int] | None:
        """The pieces that a temporary file lacks, and their bytes; None if it can't be continued."""
        missing, todo = Bits(), 0
        with suppress(OSError):
            if self._disk.fstat(fd).st_size == file.size:
                for n, (at, piece) in enumerate(extents()):
                    if not has_piece(self._disk, fd, at, piece, self._chunk_id):
                        missing.add(n)
                        todo += piece.length
                return missing, todo
        return None

    def look(self, folder: Folder) -> None:
        """Look for what earlier jobs left in a folder that was walked."""
        if self._files is None or not self._earlier or not folder.exists or folder.fresh:
            return
        for name in self._target.leftovers(folder):
            if any(names.made(name) for names in self._earlier):
                self._found.append((folder, name))

    def remove(self) -> None:
        """Remove what was found, except what this run continues and what the recovery point holds."""
        for folder, name in self._found:
            if (folder.number, name) not in self._kept:
                self._remove(folder, name)
        self._found.clear()

    def _remove(self, folder: Folder, name: bytes) -> None:
        """Remove a file by a name that only an earlier job can have made, unless another restore continues it."""
        disk = self._disk
        with suppress(OSError), self._target.handle(folder) as parent:
            if stat.S_ISREG(disk.lstat(name, dir_fd=parent).st_mode):
                with suppress(PermissionError):  # it had its final mode and owner already
                    handle = Handle(disk, disk.open(name, _READ, dir_fd=parent))
                    disk.lock(handle.fd)
            disk.unlink(name, dir_fd=parent)  # refuses a folder
