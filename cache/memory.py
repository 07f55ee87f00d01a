"""Bounded caches in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
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
