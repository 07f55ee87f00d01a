"""Writes a small file in one go, under a temporary name."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from catalog.format.blocks import Buffer
from mount.restore.disk.attributes import Attributes
from mount.restore.disk.base import Disk, Metadata, PathOf
from mount.restore.disk.flags import CLOEXEC, NOFOLLOW

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
            if data:
                write_all(disk, fd, data, 0)
            elif size:
                disk.ftruncate(fd, size)
            metadata.set_on_file(fd, a, path, plain=plain)
            if sync:
                disk.fsync(fd)
        finally:
            disk.close(fd)
    except BaseException:
        with suppress(OSError):
            disk.unlink(temporary, dir_fd=folder)
        raise


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
