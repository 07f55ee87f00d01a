"""Memory of this process: bounded caches, and the settings of the heap."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cache
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def _one(_value: object) -> int:
    return 1


class Lru(Generic[K, V]):
    """A mapping that evicts its least recently used values while their costs exceed `limit` in sum. Thread-safe.

    `cost` gives what a value counts in the unit of `limit`, its bytes for example. Without it each value counts 1:
    `Lru(16)` holds 16 values. `held` is the sum now. The newest value stays, whatever it costs. `evicted` is
    called with the key of each value that is evicted. `get` takes no
    lock: a hit must cost next to nothing.
    """

    def __init__(
        self,
        limit: int,
        cost: Callable[[V], int] = _one,
        evicted: Callable[[K], object] | None = None,
    ) -> None:
        self._evicted = evicted
        self.limit = limit
        self.held = 0
        self._cost = cost
        self._items: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        value = self._items.get(key)
        if value is not None:
            try:
                self._items.move_to_end(key)
            except KeyError:  # evicted by another thread just now
                pass
        return value

    def __contains__(self, key: K) -> bool:
        return key in self._items

    def __len__(self) -> int:
        return len(self._items)

    def put(self, key: K, value: V) -> None:
        with self._lock:
            old = self._items.pop(key, None)
            if old is not None:
                self.held -= self._cost(old)
            self._items[key] = value
            self.held += self._cost(value)
            if self.held > self.limit:
                self._shrink(self.limit)

    def pop(self, key: K) -> None:
        with self._lock:
            old = self._items.pop(key, None)
            if old is not None:
                self.held -= self._cost(old)

    def resize(self, limit: int) -> None:
        """Change the limit, and evict what exceeds it."""
        with self._lock:
            self.limit = limit
            self._shrink(limit)

    def shrink(self, to: int) -> None:
        """Evict what exceeds `to` now. The limit stays."""
        with self._lock:
            self._shrink(to)

    def clear(self) -> None:
        with self._lock:
            self._items.clear()
            self.held = 0

    def _shrink(self, to: int) -> None:
        while self.held > to and len(self._items) > 1:
            key, value = self._items.popitem(last=False)
            self.held -= self._cost(value)
            if self._evicted is not None:
                self._evicted(key)


@cache
def steady_heap() -> None:
    """Limit glibc to one arena and 20 MiB of retained free memory, process-wide.

    By default glibc adapts its limits to what is freed, retains any amount and has an arena per thread. Each arena
    has gaps of its own: under 64 readers two of them took 10 MiB more than one, which took no more time, since the
    threads run Python one at a time. Only the largest ranges are mapped one by one: each page of those costs the
    system a fault and a page of zeros. From 2 MiB, with 8 MiB retained, they took 11 MiB less under 64 readers,
    and 30% more processor time, for one reader as well.
    """
    _mallopt({_MMAP_THRESHOLD: 12 << 20, _TRIM_THRESHOLD: 20 << 20, _ARENA_MAX: 1})


def roomy_heap() -> None:
    """Let glibc retain 128 MiB of free memory and take ranges from the heap, in a process that soon ends.

    Each fresh page of a buffer costs the system a fault and a page of zeros. Writing a file of 1 GiB, whose ranges
    and blocks are freed as soon as they are used, took 0.8 s of system time instead of 1.4 s and 80 MiB more
    memory.
    """
    steady_heap()  # now, so that a later call does not undo this
    _mallopt({_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 128 << 20})


_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of glibc's malloc.h


def _mallopt(options: dict[int, int]) -> None:
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # another C library
    for option, value in options.items():
        mallopt(option, value)
