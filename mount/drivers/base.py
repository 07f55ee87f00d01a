"""What a driver offers, and what all drivers share: our errors as errno, recent errors, a folder being listed."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

from catalog.errors import NotFound, RpdriveError, UsageError
from mount.view.nodes import EntryPage, Folder

BLOCK = 4096  # bytes; unit of statfs
_SAME_ERROR_SECONDS = 60
_log = logging.getLogger("rpdrive.drive")

# Our errors to errno; the first that fits. All that is not listed is EIO: never zeros, never an empty file.
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
        """Have `run` return."""


class Driver(Protocol):
    """A view, shown as a drive by one driver. Made by mount.drivers.choice; counters grow while `run` runs."""

    @property
    def name(self) -> str:
        """As `--driver` takes it."""

    @property
    def closable(self) -> Closable | None:
        """Closes the drive from inside; None if the system unmounts it, and knows who uses it."""

    @property
    def windows_names(self) -> bool:
        """Whether the drive shows names as Windows spells them (see mount.view.names)."""

    @property
    def errors(self) -> Errors: ...

    @property
    def served(self) -> int:
        """Bytes of files that callers have read."""

    @property
    def calls(self) -> int:
        """Requests of the system."""

    @property
    def statfs_calls(self) -> int:
        """The calls for the drive's size: systems send them without anybody using the drive."""

    def status(self) -> dict[str, Any]:
        """What else the driver counts, for `rpdrive mounts --json`."""

    def run(self, mount_point: str, *, allow_other: bool = False) -> None:
        """Mount, and serve until the drive is unmounted or the process is asked to end.

        Raises MountFailed if it can't be mounted. Called once.
        """


class Refusal(Exception):
    """An errno that the caller of a file system expects, and nothing to log."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


def errno_of(error: BaseException) -> int:
    if isinstance(error, Refusal):
        return error.number
    return next((number for kind, number in ERRNO if isinstance(error, kind)), errno.EIO)


class Errors:
    """The last errors that somebody met on the drive; each is logged, but not again within a minute."""

    def __init__(self) -> None:
        self.count = 0
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()
        self.recent: list[dict[str, Any]] = []

    def note(self, path: bytes, error: BaseException) -> None:
        shown = path.decode(errors="backslashreplace")
        key = f"{type(error).__name__} {shown} {error}"
        with self._lock:
            self.count += 1
            now = time.monotonic()
            if now - self._last.get(key, -1e9) < _SAME_ERROR_SECONDS:
                return
            if len(self._last) > 1000:
                self._last.clear()
            self._last[key] = now
            row = {"time": time.time_ns(), "path": shown, "kind": type(error).__name__, "message": str(error)}
            self.recent = [*self.recent[-19:], row]
        if isinstance(error, RpdriveError):
            _log.error("%s: %s: %s", shown, type(error).__name__, error)
        else:
            _log.error("%s: unexpected %s", shown, type(error).__name__, exc_info=error)


class OpenFolder:
    """A folder being listed: entries by their place in it, read forward page by page."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._restart()

    def _restart(self) -> None:
        self._pages: Iterator[EntryPage] = self.folder.pages()
        self._page: EntryPage | None = None
        self._start = self._end = 0

    def from_place(self, place: int) -> Iterator[tuple[int, EntryPage, int]]:
        """(place of the next one, page, place in it) from a place on."""
        with self._lock:
            if place < self._start:
                self._restart()
            while True:
                while place >= self._end:
                    if not self._advance():
                        return
                page = self._page
                assert page is not None
                for n in range(place - self._start, len(page.names)):
                    place += 1
                    yield place, page, n

    def _advance(self) -> bool:
        try:
            page = next(self._pages, None)
        except BaseException:
            self._restart()  # a generator that raised is at its end: the next call must not find a short folder
            raise
        if page is None:
            return False
        self._page = page
        self._start, self._end = self._end, self._end + len(page.names)
        return True
