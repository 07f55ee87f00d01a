"""Files and folders that a restore on Windows has open, by descriptor, and the rights it works with.

Paths are `\\\\?\\C:\\…`, absolute ones: Windows cannot open a file relative to a folder's handle. A folder that is
swapped for a link during a restore is therefore noticed when it is opened, and not later.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from catalog.format.windows import name_text
from catalog.windows import api as w


class _Open(NamedTuple):
    """An open file or folder. A folder has only its path."""

    path: str
    handle: int | None


class WindowsHandles:
    """Descriptors for open files and folders, which Windows has only handles for. Thread-safe."""

    def __init__(self, api: w.Api | None = None) -> None:
        self._given = api
        self._lock = threading.Lock()
        self._open: dict[int, _Open] = {}
        self._count = 1 << 20  # above any descriptor of the C runtime
        self._rights: set[str] | None = None
        self._exchanges: dict[str, Callable[[str], str]] = {}

    @property
    def api(self) -> w.Api:
        """The Windows API, with all privileges switched on that a restore uses and this user holds."""
        with self._lock:
            if self._given is None:
                self._given = w.Api()
            if self._rights is None:
                self._rights = set()
                with suppress(OSError):
                    wanted = (w.BACKUP_PRIVILEGE, w.RESTORE_PRIVILEGE, w.SECURITY_PRIVILEGE, w.SYMLINK_PRIVILEGE)
                    self._rights = self._given.take_privileges(wanted)
            return self._given

    @property
    def may_set_audit_lists(self) -> bool:
        return bool(self.api) and w.SECURITY_PRIVILEGE in (self._rights or ())

    # --- descriptors

    def add(self, path: str, handle: int | None) -> int:
        """A descriptor for an open file, or for a folder (which has no handle)."""
        with self._lock:
            self._count += 1
            self._open[self._count] = _Open(path, handle)
            return self._count

    def close(self, fd: int) -> None:
        with self._lock:
            handle = self._open.pop(fd).handle
        if handle is not None:
            self.api.close(handle)

    def path_of(self, fd: int) -> str:
        return self._open[fd].path

    def handle_of(self, fd: int) -> int:
        """The handle of an open file."""
        handle = self._open[fd].handle
        assert handle is not None
        return handle

    def is_folder(self, fd: int) -> bool:
        return self._open[fd].handle is None

    def path(self, name: bytes, dir_fd: int | None) -> str:
        """The absolute path of a name in an open folder, or of a whole path."""
        text = name_text(name)
        if dir_fd is None:
            return absolute(text)
        above = self._open[dir_fd].path
        if text == ".":
            return above
        return f"{above}\\{text}" if above else f"\\\\?\\{text}:"

    # --- files that are exchanged for others before they get their name

    def exchange_before_rename(self, path: str, exchange: Callable[[str], str]) -> None:
        """Have the file at `path` replaced right before it is renamed: `exchange` returns the new file's path."""
        self._exchanges[path] = exchange

    def exchanged(self, path: str) -> str:
        """The path of the file to rename: `path`, or what its exchange returned."""
        exchange = self._exchanges.pop(path, None)
        return path if exchange is None else exchange(path)

    def forget_exchange(self, path: str) -> None:
        self._exchanges.pop(path, None)


def absolute(path: str) -> str:
    """A path in the form without a length limit: `\\\\?\\C:\\a` or `\\\\?\\UNC\\server\\share\\a`.

    Empty for `/`, the parent of all drives.
    """
    path = path.replace("/", "\\").rstrip("\\")
    if not path or path.startswith("\\\\?\\"):
        return path
    return f"\\\\?\\UNC{path[1:]}" if path.startswith("\\\\") else f"\\\\?\\{path}"


def rooted(path: str) -> str:
    """The path with the backslash that a drive's root folder needs at its end."""
    return path + "\\" if path.endswith(":") and path.count("\\") == 3 else path
