"""Compares files of a recovery point with those on this machine, where these have not changed since."""

from __future__ import annotations

import os
import platform
import stat
from enum import StrEnum
from pathlib import Path

from catalog.errors import Damaged
from catalog.format.keys import Keys
from catalog.format.records import Point
from catalog.names import WINDOWS
from catalog.tree import PageSource
from mount.restoretest.compare import compare
from mount.restoretest.sample import Sampled


class Live(StrEnum):
    """How a file of a point relates to the file of its path on this machine. `--json` has these words."""

    SAME = "same"
    CHANGED = "changed"  # it was written or replaced since, is gone, or can't be read: nothing can be said
    DIFFERS = "differs"  # its size, times and inode are those that were saved, and its bytes are not
    OTHER = "other machine"


def is_here(point: Point, own: bytes | None) -> bool:
    """Whether the files of a point were saved on this machine (its id), in paths that this system has."""
    return own == point.machine and point.system == platform.system() and point.system != WINDOWS


def compare_live(keys: Keys, pages: PageSource, file: Sampled) -> Live:
    """Compare a file with the one of its path here. Raises what reading the point's pages does."""
    path = Path(os.fsdecode(b"/" + file.path))
    try:
        before = path.lstat()
        if not _is_unchanged(before, file):
            return Live.CHANGED
        with path.open("rb", buffering=0) as opened:
            if _identity(os.fstat(opened.fileno())) != _identity(before):
                return Live.CHANGED

            def read(offset: int, length: int) -> bytes:
                return _read(opened.fileno(), offset, length)

            differs = False
            try:
                compare(keys, pages, file.content, file.entry.size, read)
            except Damaged:
                differs = True
            if _identity(os.fstat(opened.fileno())) != _identity(before):
                return Live.CHANGED
            return Live.DIFFERS if differs else Live.SAME
    except OSError:
        return Live.CHANGED


def _is_unchanged(status: os.stat_result, file: Sampled) -> bool:
    e = file.entry
    return stat.S_ISREG(status.st_mode) and (
        (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        == (e.size, e.mtime, e.ctime, e.inode)
    )


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read(descriptor: int, offset: int, length: int) -> bytes:
    """`length` bytes from `offset`; fewer only at the end of the file."""
    os.lseek(descriptor, offset, os.SEEK_SET)
    parts = list[bytes]()
    while length and (data := os.read(descriptor, length)):
        parts.append(data)
        length -= len(data)
    return b"".join(parts)
