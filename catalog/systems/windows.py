"""The calls for rpdrive's own files on Windows.

Files in the user's profile inherit permissions that keep other users out, so none are set or checked here."""

from __future__ import annotations

import errno
import os
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

from catalog.systems.base import PathLike

_O_BINARY = 0x8000  # <fcntl.h>

_seeking = threading.Lock()


class WindowsSystem:
    """Implements System on Windows."""

    read_flags = os.O_RDONLY | _O_BINARY
    no_follow = 0

    def pread(self, descriptor: int, length: int, offset: int, /) -> bytes:
        with _seeking:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.read(descriptor, length)

    def sync_folder(self, folder: Path) -> None:
        """Do nothing: os.open opens no folders on Windows, and NTFS keeps names in a journal."""

    def lock(self, descriptor: int) -> None:
        locking: Any = import_module("msvcrt")
        while True:
            try:
                os.lseek(descriptor, 0, os.SEEK_SET)
                locking.locking(descriptor, locking.LK_LOCK, 1)
                return
            except OSError as error:
                if error.errno != errno.EDEADLK:  # that is: tried for ten seconds
                    raise

    def rename_new(self, old: PathLike, new: PathLike, *, dir_fd: int | None = None) -> None:
        os.rename(os.fsdecode(old), os.fsdecode(new), src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    def is_own(self, status: os.stat_result) -> bool:
        return True

    def is_private(self, status: os.stat_result) -> bool:
        return True

    def make_private(self, folder: Path, status: os.stat_result) -> None:
        """Do nothing: the folder inherits permissions that keep other users out."""

    def has_terminal(self) -> bool:
        return sys.stdin is not None and sys.stdin.isatty()
