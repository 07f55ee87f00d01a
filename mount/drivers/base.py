"""The interface of drivers, and parts that they share: errors as errno, a folder being listed."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from typing import Any, Protocol

from catalog.errors import NotFound, RpdriveError, UsageError
from mount.drivers.errors import Errors
from mount.view.nodes import EntryPage, Folder

BLOCK = 4096  # bytes; unit of statfs

# Our errors to errno; the first match counts. Any other error is EIO: never zeros, never an empty file.
ERRNO: tuple[tuple[type[Exception], int], ...] = (
    (NotFound, errno.ENOENT),
    (UsageError, errno.EINVAL),
    (RpdriveError, errno.EIO),
    (MemoryError, errno.ENOMEM),
)


class Closable(Protocol):
    """A drive that must be closed by its own process, which alone knows what is open on it."""

    @property
    def handles(self) -> int:
        """Open handles of files and folders."""

    def stop(self) -> None:
        """Make `run` return."""


class Driver(Protocol):
    """A view, shown as a drive by one driver. Made by mount.drivers.choice; counters grow while `run` runs."""

    @property
    def name(self) -> str:
        """The name that `--driver` takes."""

    @property
    def closable(self) -> Closable | None:
        """Closes the drive from inside; None if the system unmounts it, and knows which processes use it."""

    @property
    def windows_names(self) -> bool:
        """Whether the drive shows names as Windows spells them (see mount.view.names)."""

    @property
    def errors(self) -> Errors:
        """Recent errors."""

    @property
    def served(self) -> int:
        """Bytes of files that callers have read."""

    @property
    def calls(self) -> int:
        """The number of requests from the system."""

    @property
    def statfs_calls(self) -> int:
        """The calls for the drive's size, which systems send without any use of the drive."""

    def status(self) -> dict[str, Any]:
        """The driver's other counters, for `rpdrive mounts --json`."""

    def run(self, mount_point: str, *, allow_other: bool = False, at: str | None = None) -> None:
        """Mount, and serve until the drive is unmounted or the process is asked to end.

        `at` is another name of the mount point, which nobody can exchange: it is mounted by that name.
        Raises MountFailed if it can't be mounted. Called once.
        """


class Refusal(Exception):
    """An errno that callers of a file system expect; it is not logged."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


def errno_of(error: BaseException) -> int:
    """The errno that a caller gets for an error."""
    if isinstance(error, Refusal):
        return error.number
    return next((number for kind, number in ERRNO if isinstance(error, kind)), errno.EIO)


class OpenFolder:
    """A folder being listed: entries by their position, read forward page by page. Thread-safe."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._restart()

    def _restart(self) -> None:
        self._pages: Iterator[EntryPage] = self.folder.pages()
        self._page: EntryPage | None = None
        self._start = self._end = 0

    def from_position(self, position: int) -> Iterator[tuple[int, EntryPage, int]]:
        """The entries from a position on: each as the position after it, its page, and its index in the page."""
        with self._lock:
            if position < self._start:
                self._restart()
            while True:
                while position >= self._end:
                    if not self._advance():
                        return
                page = self._page
                assert page is not None
                for n in range(position - self._start, len(page.names)):
                    position += 1
                    yield position, page, n

    def _advance(self) -> bool:
        try:
            page = next(self._pages, None)
        except BaseException:
            self._restart()  # a generator that raised is finished, and must not pass for the folder's end
            raise
        if page is None:
            return False
        self._page = page
        self._start, self._end = self._end, self._end + len(page.names)
        return True
