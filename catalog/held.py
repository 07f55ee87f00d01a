"""Time for which requests to a store are held back on purpose, by a limit of their rate.

A wait for the store beyond its time limit means that the store hangs. Time for which requests were held back here
does not count towards it: such time limits are measured by the clocks below, which stand still meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, TimeoutError
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
_LOOK = 0.1  # seconds


class _Total:
    """The time in which at least one thread of this process was held back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads, self._since, self._seconds = 0, 0.0, 0.0

    def begin(self) -> None:
        with self._lock:
            if not self._threads:
                self._since = time.monotonic()
            self._threads += 1

    def end(self) -> None:
        with self._lock:
            self._threads -= 1
            if not self._threads:
                self._seconds += time.monotonic() - self._since

    def clock(self) -> float:
        if not self._threads and not self._seconds:
            return time.monotonic()
        with self._lock:
            return (self._since if self._threads else time.monotonic()) - self._seconds

    def seconds(self) -> float:
        with self._lock:
            return self._seconds + (time.monotonic() - self._since if self._threads else 0.0)


class _Own(threading.local):
    seconds = 0.0


_total, _own = _Total(), _Own()


def clock() -> float:
    """Seconds, as time.monotonic; stands still while any thread of this process is held back.

    For those who wait for what other threads fetch.
    """
    return _total.clock()


def seconds() -> float:
    """For how long threads of this process have been held back so far."""
    return _total.seconds()


def own_clock() -> float:
    """Seconds, as time.monotonic; stands still while this thread is held back. For its own requests."""
    return time.monotonic() - _own.seconds


@contextmanager
def holding() -> Iterator[None]:
    """A context in which this thread is held back."""
    began = time.monotonic()
    _total.begin()
    try:
        yield
    finally:
        _total.end()
        _own.seconds += time.monotonic() - began


def result(future: Future[T], seconds: float) -> T:
    """The result of another thread's work. Raises TimeoutError if it takes longer than `seconds` by `clock`."""
    end = clock() + seconds
    while True:
        try:
            return future.result(seconds)
        except TimeoutError:
            left = end - clock()
            if left <= 0 or future.done():  # done: the error is its own
                raise
            seconds = max(left, _LOOK)
