"""When a drive closes by itself: after a time without use, or after a time in all.

Use is any request of the kernel but statfs (which programs that watch disks send all day), and any process that
has a file or folder of the drive open or is in it. Time without use passes only while the machine is awake, time
in all also while it sleeps.
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

_MOST_TICK = 60.0  # seconds between looks, at most
_END_SECONDS = 2.0
_log = logging.getLogger("rpdrive.drive")


def _since_boot() -> float:
    """Seconds, the machine's sleep among them."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)  # Windows's goes on in sleep, too


class Limits(NamedTuple):
    """When a drive closes, and how long until then, in seconds; None where there is no limit."""

    idle: float | None
    total: float | None
    idle_left: float | None
    total_left: float | None


class Lifetime:
    """Watches over a drive from a thread of its own, once it is started; does nothing without limits.

    `requests` counts the kernel's. `idle` and `total` are in seconds. `detached` is called when the drive has
    been taken away from under somebody, whose open files it serves on until they are closed.
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
        """The drive has ended; if this closed it, wait until that is logged."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def status(self) -> Limits:
        self._look()
        return Limits(self._idle, self._total, *self._left())

    def _look(self) -> None:
        requests = self._requests()
        if requests != self._seen:
            self._seen, self._used = requests, time.monotonic()

    def _left(self) -> tuple[float | None, float | None]:
        idle = None if self._idle is None else max(self._idle - (time.monotonic() - self._used), 0.0)
        total = None if self._total is None else max(self._total - (_since_boot() - self._began), 0.0)
        return idle, total

    def _watch(self) -> None:
        # Often enough that what was open for a while doesn't go unseen.
        tick = min(_MOST_TICK, *(limit / 8 for limit in (self._idle, self._total) if limit is not None))
        failures = 0
        while not self._over.wait(min(tick * 2**failures, _MOST_TICK)):
            try:
                if self._ended():
                    return
                failures = 0
            except MountFailed as e:
                failures = min(failures + 1, 16)
                _log.error("%s", e)
            except Exception:  # noqa: BLE001 - the drive outlives a look that failed
                failures = min(failures + 1, 16)
                _log.exception("whether the drive is in use can't be told")

    def _ended(self) -> bool:
        """Whether the drive was closed. MountFailed if it should be, and can't."""
        _idle, total = self._left()
        if total == 0:
            return self._close_for_good()
        before = self._used
        self._look()
        if self._idle is not None and self._used == before and self._drive.users():
            self._used = time.monotonic()
        idle, _total = self._left()
        return idle == 0 and self._close_unused()

    def _close_unused(self) -> bool:
        number = self._drive.unmount()
        if number == errno.EBUSY:  # somebody uses it who can't be seen from here
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
        users = ", ".join(f"{u.name} (process {u.pid})" for u in self._drive.users()[:5])
        self._drive.detach()
        _log.warning("closed after %s, though in use%s", after, f" by {users}" if users else "")
        self._detached()
        return True
