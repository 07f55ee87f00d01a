"""Writes a small file in one go, under a temporary name, or without one until it is complete."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from catalog.format.blocks import Buffer
from mount.restore.disk.attributes import Attributes
from mount.restore.disk.base import Disk, Metadata, PathOf
from mount.restore.disk.flags import CLOEXEC, NOFOLLOW

# Answers of systems and file systems that have no files without a name, or give them none later.
_ONLY_NAMED = {
    errno.EACCES, errno.EINVAL, errno.EISDIR, errno.ENOENT, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM,
    errno.EXDEV,
}  # fmt: skip
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | NOFOLLOW | CLOEXEC


def make_whole(
    disk: Disk,
    metadata: Metadata,
    folder: int,
    temporary: bytes,
    data: Buffer,
    size: int,
    a: Attributes,
    path: PathOf,
    *,
    plain: bool,
    sync: bool = False,
) -> None:
    """Make a file of `size` bytes (`data`, or a hole) with its metadata. Raises OSError; then nothing is left.

    `folder` is a descriptor, `plain` as in Folder; `path` is for problems with the metadata.
    """
    fd = disk.open(temporary, NEW, metadata.first_mode(a, plain=plain), dir_fd=folder)
    try:
        try:
            _fill(disk, metadata, fd, data, size, a, path, plain=plain)
            if sync:
                disk.fsync(fd)
        finally:
            disk.close(fd)
    except BaseException:
        with suppress(OSError):
            disk.unlink(temporary, dir_fd=folder)
        raise


def make_unnamed(
    disk: Disk,
    metadata: Metadata,
    folder: int,
    name: bytes,
    data: Buffer,
    size: int,
    a: Attributes,
    path: PathOf,
    *,
    plain: bool,
) -> bool:
    """Make a file as `make_whole` does, which gets its name once it is complete. False if that can't be had here.

    Raises FileExistsError if the name is taken, or another OSError; then nothing is left.
    """
    try:
        fd = disk.open_unnamed(folder, metadata.first_mode(a, plain=plain))
    except OSError as e:
        if e.errno in _ONLY_NAMED:
            return False
        raise
    try:
        _fill(disk, metadata, fd, data, size, a, path, plain=plain)
        try:
            disk.give_name(fd, folder, name)
        except OSError as e:
            if e.errno in _ONLY_NAMED:
                return False
            raise
    finally:
        disk.close(fd)
    return True


def _fill(
    disk: Disk, metadata: Metadata, fd: int, data: Buffer, size: int, a: Attributes, path: PathOf, *, plain: bool
) -> None:
    if data:
        write_all(disk, fd, data, 0)
    elif size:
        disk.ftruncate(fd, size)
    metadata.set_on_file(fd, a, path, plain=plain)


def write_all(disk: Disk, fd: int, data: Buffer, position: int) -> None:
    """Write all of `data` at `position` of a file. Raises OSError."""
    view = memoryview(data)
    while True:
        done = disk.pwrite(fd, view, position)
        if done == len(view):
            return
        if done == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        view = view[done:]
        position += done
