"""Errors on a drive: counted, shown by `rpdrive mounts --json`, and logged, but never without bound."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from cache.memory import Lru
from catalog.errors import RpdriveError, StoreUnreachable
from catalog.screen.text import safe_text

SAME_SECONDS = 60.0  # between two lines about the same error, at least
LINES = 500  # logged at once, at most
LINES_AN_HOUR = 500  # in the long run: some 2 MB a day
STACKS_SECONDS = 60.0  # between two lists of stacks, at least
_RECENT = 20  # errors shown
_CHAIN = 64  # errors that led to one
_TEXTS = 1000  # errors remembered, to notice that one is repeated
_READS = 64  # files with failed reads remembered, and reads of each
_KERNEL_REPEATS = 2.0  # seconds within which the kernel repeats a read that failed
_READ_AHEAD = 1 << 20  # bytes that the kernel reads ahead, at most
_log = logging.getLogger("rpdrive.drive")


class Errors:
    """Recent errors on the drive. Thread-safe.

    A repeated error is logged at most once a minute, and all errors together up to a budget of lines; the next line
    says how many were left out. `overdue` counts requests that were given up because nothing answered them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self.overdue = 0
        self.recent: list[dict[str, Any]] = []
        self._clock = clock
        self._lock = threading.Lock()
        self._logged: Lru[str, float] = Lru(_TEXTS)
        self._lines = float(LINES)  # that may be logged now
        self._refilled = clock()
        self._left_out = 0
        self._stacks: float | None = None  # when they were logged

    def note(self, path: bytes, error: BaseException) -> None:
        """Count an error at a path of the drive, and free what the frames that it passed still hold."""
        shown = path.decode(errors="backslashreplace")
        kind = type(error).__name__
        if self._count(shown, kind, str(error)):
            if isinstance(error, RpdriveError):
                _log.error("%s: %s: %s", safe_text(shown), kind, safe_text(str(error)))
            else:
                _log.error("%s: unexpected %s", safe_text(shown), kind, exc_info=error)
        _clear(error)

    def note_overdue(self, path: bytes, what: str, seconds: float) -> None:
        """Count a request that nothing answered within `seconds`, and log the stacks of all threads."""
        shown = path.decode(errors="backslashreplace")
        with self._lock:
            self.overdue += 1
            now = self._clock()
            with_stacks = self._stacks is None or now - self._stacks >= STACKS_SECONDS
            if with_stacks:
                self._stacks = now
        logged = self._count(shown, "Overdue", f"{what} had no answer")
        if logged or with_stacks:
            _log.error(
                "%s: %s had no answer within %.0f s; it failed, and the drive goes on%s", safe_text(shown), what,
                seconds, f". Please report this:\n{stacks()}" if with_stacks else "",
            )  # fmt: skip

    def _count(self, shown: str, kind: str, message: str) -> bool:
        """Count an error. Returns whether to log it."""
        key = f"{kind} {shown} {message}"
        with self._lock:
            self.count += 1
            now = self._clock()
            before = self._logged.get(key)
            if before is not None and now - before < SAME_SECONDS:
                return False
            self._logged.put(key, now)
            row = {"time": time.time_ns(), "path": shown, "kind": kind, "message": message}
            self.recent = [*self.recent[1 - _RECENT :], row]
            refill = (now - self._refilled) * LINES_AN_HOUR / 3600
            self._lines, self._refilled = min(self._lines + refill, LINES), now
            if self._lines < 1:
                self._left_out += 1
                return False
            self._lines -= 1
            left_out, self._left_out = self._left_out, 0
        if left_out:
            _log.error("%d further errors were not logged", left_out)
        return True


def _clear(error: BaseException) -> None:
    """Clear the frames that an error, and those that led to it, have passed: a block's bytes among their variables.

    They refer to the error and it to them, so nothing else would free them before Python looks for such cycles.
    """
    errors: list[BaseException | None] = [error]
    for e in errors:
        if e is not None and len(errors) < _CHAIN:
            traceback.clear_frames(e.__traceback__)
            errors += (e.__cause__, e.__context__)


class FailedReads:
    """Reads that failed for lack of an answer, for a moment. Thread-safe.

    When a read ahead fails, the kernel asks for the page that its caller needs once more. Without this, it would
    wait for the store a second time. The caller gets the error then, and what the kernel had read ahead behind
    that page is asked for by nobody: reads there are those of a caller that tries again, and go to the store.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: Lru[Hashable, list[tuple[int, int, float]]] = Lru(_READS)  # by file: start, end, until
        self._told: Lru[Hashable, list[tuple[int, float]]] = Lru(_READS)  # by file: offset that was repeated, until
        self._repeated: Lru[tuple[Hashable, int, int], bool] = Lru(_READS * _READS)

    def note(self, file: Hashable, offset: int, size: int, error: BaseException) -> None:
        """Note that a read of a file failed. Only lack of an answer counts: a refusal takes no time to repeat."""
        if not isinstance(error, StoreUnreachable):
            return
        with self._lock:
            if (file, offset, size) in self._repeated:
                return  # not a read ahead
            now = self._clock()
            if any(now < until and _ahead(offset, page) for page, until in self._told.get(file) or []):
                return  # its caller has the error already
            ranges = (self._failed.get(file) or [])[1 - _READS :]
            self._failed.put(file, [*ranges, (offset, offset + size, now + _KERNEL_REPEATS)])

    def repeats(self, file: Hashable, offset: int, size: int) -> bool:
        """Whether a read is such a repetition. Said once for each failure."""
        if not len(self._failed):
            return False
        with self._lock:
            now = self._clock()
            ranges = [row for row in self._failed.get(file) or [] if now < row[2]]
            found = any(row[0] <= offset < row[1] for row in ranges)
            if found:
                ranges = [row for row in ranges if not (row[0] <= offset < row[1] or _ahead(row[0], offset))]
                told = [row for row in self._told.get(file) or [] if now < row[1]]
                self._told.put(file, [*told[1 - _READS :], (offset, now + _KERNEL_REPEATS)])
                self._repeated.put((file, offset, size), True)
            if ranges:
                self._failed.put(file, ranges)
            else:
                self._failed.pop(file)
        return found


def _ahead(offset: int, page: int) -> bool:
    """Whether the kernel may read this offset ahead for a caller that needs this page."""
    return page <= offset < page + _READ_AHEAD


def stacks() -> str:
    """The stacks of all threads of this process, and where the kernel holds each."""
    frames = sys._current_frames()
    parts = []
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        lines = "".join(traceback.format_stack(frame)) if frame is not None else ""
        parts.append(f"Thread {thread.name}{_waits_in(thread.native_id)}:\n{lines}")
    return "\n".join(parts)


def _waits_in(thread: int | None) -> str:
    try:
        where = Path(f"/proc/self/task/{thread}/wchan").read_text()
    except OSError:
        return ""  # not Linux, or not permitted
    return f" (in {where})" if where not in ("", "0") else ""
