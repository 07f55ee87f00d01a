"""Files that are made whole and durable, or not at all. Everything raises OSError."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from catalog.store.base import Buffer

PREFIX = "writing-"
STALE = 24 * 3600 * 10**9  # ns; nobody writes one object for a day

# For os.open: the bytes as they are, and not for children.
READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
# What link(2) says on file systems that have no links (FAT, exFAT, some network and FUSE file systems).
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}


def write_temporary(folder: Path, parts: Sequence[Buffer]) -> Path:
    """A new file in `folder` that holds the parts end to end and is on the disk. The caller removes it."""
    path = folder / f"{PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
    length = sum(memoryview(part).nbytes for part in parts)
    try:
        with path.open("xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            if os.fstat(file.fileno()).st_size != length:
                raise OSError(errno.EIO, "the file system kept another length than was written", str(path))
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    return path


def place_new(temporary: Path, target: Path) -> None:
    """Give the file its name, for good. FileExistsError if there is one of that name; it is left alone."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        rename_new(temporary, target)
    sync_folder(target.parent)


def rename_new(temporary: Path, target: Path) -> None:
    """renameat2(RENAME_NOREPLACE), for file systems without links."""
    libc = ctypes.CDLL(None, use_errno=True)
    rename = getattr(libc, "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, "neither links nor renameat2 here", str(target))
    rename.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    if rename(_AT_FDCWD, os.fsencode(temporary), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(target))


def make_folders(folder: Path) -> None:
    """Make the folder and those above it, each durable in the one above."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows opens no folders for that, and NTFS keeps names by its journal
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems can't, and make names durable by themselves.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)


def lock(descriptor: int) -> None:
    """Wait until this process alone has a file, for as long as the descriptor is open."""
    if os.name == "nt":
        locking: Any = import_module("msvcrt")
        while True:
            try:
                os.lseek(descriptor, 0, os.SEEK_SET)
                locking.locking(descriptor, locking.LK_LOCK, 1)
                return
            except OSError as error:
                if error.errno != errno.EDEADLK:  # that is: tried for ten seconds
                    raise
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)


def sweep(folder: Path) -> None:
    """Remove what writers left that died in the middle. Files that are younger than STALE are left alone."""
    now = time.time_ns()
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.name.startswith(PREFIX) and now - entry.stat().st_mtime_ns > STALE:
                    Path(entry.path).unlink()
