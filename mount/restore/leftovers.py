"""Temporary files of stopped restores: large files are continued, the others removed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress

from catalog.format.packs import Extent
from mount.restore.contents import has_piece
from mount.restore.disk.flags import CLOEXEC, NOFOLLOW, NONBLOCK
from mount.restore.file_plan import FilePlan
from mount.restore.file_writer import FileWriter, mark
from mount.restore.report import Report
from mount.restore.target import LEFTOVER, Folder, Target


class Leftovers:
    """Finds and removes temporary files, except those that a running restore has locked."""

    def __init__(self, target: Target, chunk_id: Callable[[bytes], bytes], report: Report) -> None:
        self._target, self._disk = target, target.disk
        self._chunk_id, self._report = chunk_id, report
        self._continued: set[tuple[int, bytes]] = set()  # folder number, name

    def resume(self, file: FilePlan, extents: list[tuple[int, Extent]]) -> list[tuple[int, Extent]]:
        """The pieces of a file that must still be fetched. Sets `file.temporary` if an earlier run began it."""
        start = LEFTOVER + mark(file).hex().encode()
        for name in self._target.leftovers(file.folder):
            if not name.startswith(start) or (file.folder.number, name) in self._continued:
                continue
            missing = self._missing(file, name, extents)
            if missing is None:
                continue
            file.temporary = name
            self._continued.add((file.folder.number, name))
            done = sum(p.length for _at, p in extents) - sum(p.length for _at, p in missing)
            with self._report.lock:
                self._report.same_bytes += done
            return missing
        return extents

    def _missing(
        self, file: FilePlan, name: bytes, extents: list[tuple[int, Extent]]
    ) -> list[tuple[int, Extent]] | None:
        """The pieces that a temporary file lacks, or None if it can't be continued."""
        disk = self._disk
        try:
            with self._target.handle(file.folder) as folder:
                fd = disk.open(name, os.O_RDWR | NOFOLLOW | CLOEXEC | NONBLOCK, dir_fd=folder)
        except OSError:
            return None
        try:
            disk.lock(fd)
            st = disk.fstat(fd)
            if not stat.S_ISREG(st.st_mode) or st.st_size != file.size or st.st_uid != disk.geteuid():
                return None
            return [(at, p) for at, p in extents if not has_piece(disk, fd, at, p, self._chunk_id)]
        except OSError:
            return None
        finally:
            disk.close(fd)

    def remove(self, folders: Iterable[Folder], files: FileWriter) -> None:
        """Remove temporary files from these folders, except those of this run and those that it continues."""
        for folder in folders:
            if folder.exists and not folder.fresh:
                for name in self._target.leftovers(folder):
                    if (folder.number, name) not in self._continued and not files.is_own(name):
                        self._remove(folder, name)

    def _remove(self, folder: Folder, name: bytes) -> None:
        disk = self._disk
        with suppress(OSError), self._target.handle(folder) as parent:
            fd = disk.open(name, os.O_RDONLY | NOFOLLOW | CLOEXEC | NONBLOCK, dir_fd=parent)
            try:
                if disk.fstat(fd).st_uid == disk.geteuid():
                    disk.lock(fd)  # raises OSError while another restore writes it
                    disk.unlink(name, dir_fd=parent)
            finally:
                disk.close(fd)
