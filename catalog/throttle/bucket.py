"""A token bucket whose rate may change at any time."""

from __future__ import annotations

import math
import threading


class Bucket:
    """Lets bytes go at a rate, in the order in which they were asked for. Thread-safe; has no clock of its own.

    Each request takes a ticket: the number of bytes before it. It may go as soon as so many have drained. In any
    stretch of T seconds, at most rate x T bytes go and one piece for each thread that waits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = 0.0  # bytes
        self._drained = 0.0  # bytes, at most _asked
        self._at, self._rate = 0.0, math.inf

    def ticket(self, now: float, rate: float, length: int) -> float:
        """Ask for `length` bytes at `now` (s), when `rate` (bytes/s) counts."""
        with self._lock:
            self._drain(now, rate)
            mine = self._asked
            self._asked += length
            return mine

    def wait(self, now: float, rate: float, ticket: float) -> float:
        """Seconds until a ticket's bytes may go, if the rate stays; 0: now."""
        with self._lock:
            self._drain(now, rate)
            left = ticket - self._drained
            if left <= 0:
                return 0.0
            return left / rate if rate else math.inf

    def _drain(self, now: float, rate: float) -> None:
        # Between two looks the lower of both rates counts: which of them held for how long is not known.
        passed = max(0.0, now - self._at)
        slower = min(rate, self._rate)
        drained = self._asked if math.isinf(slower) else self._drained + slower * passed
        self._drained = min(self._asked, drained)
        self._at, self._rate = now, rate
