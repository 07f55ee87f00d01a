"""Requests that threads of a foreign library are answering, and a watch over their age."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from catalog import held

_LONGEST_TICK = 5.0  # seconds
_SHOWN = 20  # requests in the drive's status
_GRACE = 5.0  # seconds beyond the read timeout, at most
_log = logging.getLogger("rpdrive.drive")


def time_limit(read_timeout: float) -> float:
    """Seconds after which a request is overdue: a little more than what a read waits for the store."""
    return read_timeout + min(read_timeout / 4, _GRACE)


def tick_of(seconds: float) -> float:
    """The pause (seconds) between two looks at the age of requests that may take `seconds`."""
    return min(seconds / 8, _LONGEST_TICK)


class Watch:
    """Calls `look` with a clock (seconds) until it is closed, from a thread of its own.

    The clock counts the pauses between the calls: it stands still while the process is stopped or the machine
    asleep, or requests to the store are held back by a limit, and afterwards every request gets the time that is
    left to it.
    """

    def __init__(self, look: Callable[[float], None], seconds: float) -> None:
        self._look = look
        self._tick = tick_of(seconds)
        self._over = threading.Event()
        threading.Thread(target=self._run, name="overdue", daemon=True).start()

    def close(self) -> None:
        self._over.set()

    def _run(self) -> None:
        clock, before = 0.0, held.clock()
        while not self._over.wait(self._tick):
            now = held.clock()
            clock += min(now - before, 2 * self._tick)
            before = now
            try:
                self._look(clock)
            except Exception:  # noqa: BLE001 - the watch must go on
                _log.exception("cannot determine which requests wait")


class Call(NamedTuple):
    """A request that is being answered: its kind, its path, and when it began (time.monotonic)."""

    what: str
    path: bytes
    began: float


class Ages:
    """The requests that are being answered, by thread. Each that takes longer than `seconds` is reported once.

    `report` gets its path, its kind and the seconds. The thread itself can't be helped from here.
    """

    def __init__(self, seconds: float, report: Callable[[bytes, str, float], None]) -> None:
        self._seconds = seconds
        self._report = report
        self._calls: dict[int, Call] = {}
        self._first: dict[int, tuple[Call, float]] = {}  # when the watch's clock saw a call first
        self._reported: dict[int, Call] = {}
        self._watch: Watch | None = None

    def __len__(self) -> int:
        return len(self._calls)

    def oldest(self) -> list[dict[str, Any]]:
        """The requests that have been under way for longest."""
        now = time.monotonic()
        calls = sorted(self._calls.copy().values(), key=lambda call: call.began)[:_SHOWN]
        return [
            {"kind": c.what, "path": c.path.decode(errors="replace"), "seconds": round(now - c.began, 1)}
            for c in calls
        ]

    def start(self) -> None:
        self._watch = Watch(self._look, self._seconds)

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()

    def begin(self, what: str, path: bytes) -> None:
        """Note that this thread begins to answer a request."""
        self._calls[threading.get_ident()] = Call(what, path, time.monotonic())

    def end(self) -> None:
        """Note that this thread has an answer."""
        self._calls.pop(threading.get_ident(), None)

    def _look(self, clock: float) -> None:
        calls = self._calls.copy()
        before, self._first = self._first, {}
        for thread, call in calls.items():
            known = before.get(thread)
            since = known[1] if known is not None and known[0] is call else clock
            self._first[thread] = call, since
            if clock - since > self._seconds and self._reported.get(thread) is not call:
                self._reported[thread] = call
                self._report(call.path, call.what, clock - since)
        self._reported = {thread: call for thread, call in self._reported.items() if calls.get(thread) is call}
