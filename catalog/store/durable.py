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
from catalog.store.flow import in_pieces
from catalog.systems.base import Folder
from catalog.systems.this import SYSTEM

Copy: TypeAlias = Callable[[int], int]  # writes to a descriptor, from its position; returns how many bytes
PREFIX = "writing-"
STALE = 24 * 3600 * 10**9  # ns; no object takes a day to write
PRIVATE = 0o700

# Errors of link(2) on file systems without hard links: FAT, exFAT, some network and FUSE file systems.
# EROFS too: the temporary file could be written, and some FUSE libraries say so of a call that they lack.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EROFS}
# Errors of renameat2(2) where RENAME_NOREPLACE is unknown: exfat-fuse and others of libfuse 2, and other systems.
_NO_RENAME_NEW = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}


def write_temporary(folder: Folder, parts: Sequence[Buffer | Copy], mark: str = "", *, durable: bool = True) -> str:
    """Write the parts end to end into a new file in `folder`, and, if it is to be `durable`, flush it to the disk.

    Returns its name, which contains `mark` (see `Store.sweep`). The caller removes it.
    """
    name = f"{PREFIX}{_marked(mark)}{os.getpid()}-{secrets.token_hex(8)}"
    length = 0
    try:
        with open(folder.path(name), "x+b", opener=folder.open) as file:
            for part in in_pieces(parts):
                if callable(part):
                    file.flush()
                    length += part(file.fileno())
                else:
                    length += memoryview(part).nbytes
                    file.write(part)
            file.flush()
            if os.fstat(file.fileno()).st_size != length:
                raise OSError(errno.EIO, "the file system stored a different length than was written", name)
            if durable:
                os.fsync(file.fileno())
    except BaseException:
        remove(folder, name)
        raise
    return name


def remove(folder: Folder, name: str) -> None:
    """Remove a file, if it is there and that is possible."""
    with suppress(OSError):
        os.unlink(folder.path(name), dir_fd=folder.descriptor)


def place_new(own: Folder, temporary: str, folder: Folder, name: str) -> None:
    """Give the file its final name, durably. Raises FileExistsError, and changes nothing, if it is taken.

    Where the file system has neither links nor a rename that never replaces, the name is first claimed by an empty
    file. A crash in between leaves that behind, an object that is damaged and that nothing refers to.
    """
    old, new = own.path(temporary), folder.path(name)
    try:
        os.link(old, new, src_dir_fd=own.descriptor, dst_dir_fd=folder.descriptor)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            SYSTEM.rename_new(old, new, dir_fd=own.descriptor, to_fd=folder.descriptor)
        except OSError as refused:
            if refused.errno not in _NO_RENAME_NEW:
                raise
            _claim_and_rename(own, old, folder, new)
    SYSTEM.sync_folder(folder)


def _claim_and_rename(own: Folder, old: str, folder: Folder, new: str) -> None:
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder.descriptor))
    try:
        os.replace(old, new, src_dir_fd=own.descriptor, dst_dir_fd=folder.descriptor)
    except BaseException:
        with suppress(OSError):
            os.unlink(new, dir_fd=folder.descriptor)
        raise


def make_folders(folder: Path, mode: int = 0o777) -> None:
    """Create the folder, with `mode`, and its missing parents, each durable in the one above."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode)
    SYSTEM.sync_folder(Folder(None, f"{folder.parent}/"))


def _marked(mark: str) -> str:
    return mark and f"{mark}-"


def sweep(folder: Folder, mark: str = "") -> None:
    """Remove the unfinished files of writers that died: those with this `mark`, and others older than STALE."""
    now = time.time_ns()
    with suppress(OSError), folder.scan() as entries:
        for entry in entries:
            with suppress(OSError):
                if not entry.name.startswith(PREFIX):
                    continue
                own = mark and entry.name.startswith(f"{PREFIX}{mark}-")
                if own or now - entry.stat(follow_symlinks=False).st_mtime_ns > STALE:
                    os.unlink(folder.path(entry.name), dir_fd=folder.descriptor)
