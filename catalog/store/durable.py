"""Files that are created whole and durable, or not at all. All functions raise OSError."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from catalog.store.base import Buffer
from catalog.systems.this import SYSTEM

Copy: TypeAlias = Callable[[int], int]  # writes to a descriptor, from its position; returns how many bytes
PREFIX = "writing-"
STALE = 24 * 3600 * 10**9  # ns; no object takes a day to write

# Errors of link(2) on file systems without hard links: FAT, exFAT, some network and FUSE file systems.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}


def write_temporary(folder: Path, parts: Sequence[Buffer | Copy]) -> Path:
    """Write the parts end to end into a new file in `folder`, and flush it to the disk. The caller removes it."""
    path = folder / f"{PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
    length = 0
    try:
        with path.open("xb") as file:
            for part in parts:
                if callable(part):
                    file.flush()
                    length += part(file.fileno())
                else:
                    length += memoryview(part).nbytes
                    file.write(part)
            file.flush()
            if os.fstat(file.fileno()).st_size != length:
                raise OSError(errno.EIO, "the file system stored a different length than was written", str(path))
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    return path


def place_new(temporary: Path, target: Path) -> None:
    """Give the file its final name, durably. Raises FileExistsError, and changes nothing, if it is taken."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        SYSTEM.rename_new(temporary, target)
    SYSTEM.sync_folder(target.parent)


def make_folders(folder: Path) -> None:
    """Create the folder and its missing parents, each durable in the one above."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
    SYSTEM.sync_folder(folder.parent)


def sweep(folder: Path) -> None:
    """Remove the unfinished files of writers that died, if they are older than STALE."""
    now = time.time_ns()
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.name.startswith(PREFIX) and now - entry.stat().st_mtime_ns > STALE:
                    Path(entry.path).unlink()
