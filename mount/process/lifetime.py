"""Closes a drive automatically: after a time without use, or after a total time.

Use is any request of the kernel except statfs, which disk monitors send all day, and any process that has a file
or folder of the drive open or as its working folder. Time without use passes only while the machine is awake, the
total time also while it sleeps.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from catalog.errors import MountFailed
from catalog.screen.text import duration_text
from mount.place.base import OpenDrive

_MOST_TICK = 60.0  # seconds between checks, at most
_END_SECONDS = 2.0
_log = logging.getLogger("rpdrive.drive")


def _since_boot() -> float:
    """Seconds since the machine's start, including sleep."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)  # on Windows this includes sleep


class Limits(NamedTuple):
    """The limits of a drive, and the time left until each, in seconds; None where there is no limit."""

    idle: float | None
    total: float | None
    idle_left: float | None
    total_left: float | None


class Lifetime:
    """Watches a drive from a thread of its own, once started; does nothing without limits.

    `requests` returns the number of requests that count as use. `idle` and `total` are in seconds. `detached` is
    called after the drive was unmounted while in use: it then serves the open files until they are closed.
    """

    def __init__(
        self,
        drive: OpenDrive,
        requests: Callable[[], int],
        *,
        idle: float | None = None,
        total: float | None = None,
        detached: Callable[[], None] = lambda: None,
    ) -> None:
        self._drive = drive
        self._place = drive.place
        self._requests = requests
        self._idle, self._total = idle, total
        self._detached = detached
        self._seen = requests()
        self._used = time.monotonic()
        self._began = _since_boot()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._used, self._began = time.monotonic(), _since_boot()
        if self._idle is not None or self._total is not None:
            self._thread = threading.Thread(target=self._watch, name="lifetime", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop watching; call it when the drive has ended. Waits until this thread has logged that it closed it."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def status(self) -> Limits:
        self._check_use()
        return Limits(self._idle, self._total, *self._left())

    def _check_use(self) -> None:
        requests = self._requests()
        if requests != self._seen:
            self._seen, self._used = requests, time.monotonic()

    def _left(self) -> tuple[float | None, float | None]:
        idle = None if self._idle is None else max(self._idle - (time.monotonic() - self._used), 0.0)
        total = None if self._total is None else max(self._total - (_since_boot() - self._began), 0.0)
        return idle, total

    def _watch(self) -> None:
        # Often enough to notice a file that was open for a short while only.
        tick = min(_MOST_TICK, *(limit / 8 for limit in (self._idle, self._total) if limit is not None))
        failures = 0
        while not self._over.wait(min(tick * 2**failures, _MOST_TICK)):
            try:
                if self._close_if_due():
                    return
                failures = 0
            except MountFailed as e:
                failures = min(failures + 1, 16)
                _log.error("%s", e)
            except Exception:  # noqa: BLE001 - a failed check must not end the drive
                failures = min(failures + 1, 16)
                _log.exception("cannot determine whether the drive is in use")

    def _close_if_due(self) -> bool:
        """Close the drive if its time is over. Returns whether it was closed. Raises MountFailed if that fails."""
        _idle, total = self._left()
        if total == 0:
            return self._close_for_good()
        before = self._used
        self._check_use()
        if self._idle is not None and self._used == before and self._drive.users():
            self._used = time.monotonic()
        idle, _total = self._left()
        return idle == 0 and self._close_unused()

    def _close_unused(self) -> bool:
        number = self._drive.unmount()
        if number == errno.EBUSY:  # in use by a process that this user can't see
            self._used = time.monotonic()
            return False
        if number:
            raise MountFailed(f"{self._place} can't be unmounted: {os.strerror(number)}")
        _log.warning("closed after %s without use", duration_text(self._idle or 0))
        return True

    def _close_for_good(self) -> bool:
        after = duration_text(self._total or 0)
        number = self._drive.unmount()
        if number == 0:
            _log.warning("closed after %s", after)
            return True
        users = ", ".join(map(str, self._drive.users()[:5]))
        self._drive.detach()
        _log.warning("closed after %s, although in use%s", after, f" by {users}" if users else "")
        self._detached()
        return True
