"""Temporary files of restores that ended early: large files are continued, the others removed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress

from catalog.format.packs import Extent
from mount.restore.contents import has_piece
from mount.restore.disk.base import Metadata
from mount.restore.disk.flags import CLOEXEC, NOFOLLOW, NONBLOCK
from mount.restore.file_plan import FilePlan
from mount.restore.file_writer import FileWriter, mark
from mount.restore.report import Report
from mount.restore.target import Folder, Handle, Identity, Target
from mount.restore.temporary_names import TemporaryNames

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

    def keep(self, folder: Folder, name: bytes) -> None:
        """Leave this name alone: the recovery point has an entry of that name."""
        self._kept.add((folder.number, name))

    def resume(self, file: FilePlan, extents: list[tuple[int, Extent]]) -> list[tuple[int, Extent]]:
        """The pieces of a file that must still be fetched. Sets `file.temporary` if an earlier run began it."""
        wanted = [names.name(mark(file)) for names in self._earlier]
        if self._files is None or not wanted:
            return extents
        for name in self._target.leftovers(file.folder):
            if name not in wanted or (file.folder.number, name) in self._kept:
                continue
            handle = self._open(file.folder, name, self._metadata.first_mode(file.attributes, plain=False))
            if handle is None:
                continue
            missing = self._missing(file, handle.fd, extents)
            if missing is None:
                continue
            file.temporary = name, Identity.of(self._disk.fstat(handle.fd))
            self._files.continues(file, handle)
            self._kept.add((file.folder.number, name))
            done = sum(p.length for _at, p in extents) - sum(p.length for _at, p in missing)
            with self._report.lock:
                self._report.same_bytes += done
            return missing
        return extents

    def _open(self, folder: Folder, name: bytes, mode: int) -> Handle | None:
        """The file, locked; None if it is not one that this user made with this mode, or if it is in use."""
        with suppress(OSError), self._target.handle(folder) as parent:
            handle = Handle(self._disk, self._disk.open(name, _AGAIN, dir_fd=parent))
            self._disk.lock(handle.fd)
            if self._target.is_own(handle.fd, None, mode, parent):
                return handle
        return None

    def _missing(
        self, file: FilePlan, fd: int, extents: list[tuple[int, Extent]]
    ) -> list[tuple[int, Extent]] | None:
        """The pieces that a temporary file lacks, or None if it can't be continued."""
        with suppress(OSError):
            if self._disk.fstat(fd).st_size == file.size:
                return [(at, p) for at, p in extents if not has_piece(self._disk, fd, at, p, self._chunk_id)]
        return None

    def remove(self, folders: Iterable[Folder]) -> None:
        """Remove what earlier jobs left in these folders, except what this run continues."""
        if self._files is None or not self._earlier:
            return
        for folder in folders:
            if folder.exists and not folder.fresh:
                for name in self._target.leftovers(folder):
                    is_theirs = any(names.made(name) for names in self._earlier)
                    if is_theirs and (folder.number, name) not in self._kept:
                        self._remove(folder, name)

    def _remove(self, folder: Folder, name: bytes) -> None:
        """Remove a file by a name that only an earlier job can have made, unless another restore continues it."""
        disk = self._disk
        with suppress(OSError), self._target.handle(folder) as parent:
            if stat.S_ISREG(disk.lstat(name, dir_fd=parent).st_mode):
                with suppress(PermissionError):  # it had its final mode and owner already
                    handle = Handle(disk, disk.open(name, _READ, dir_fd=parent))
                    disk.lock(handle.fd)
            disk.unlink(name, dir_fd=parent)  # refuses a folder
