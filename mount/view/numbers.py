"""Inode numbers given out while a drive is open: no two things ever share one.

Numbers derived from ids alone would meet: by chance at some ten thousand points (a number has room for 31 bits of a
point's id), or on purpose, since a machine can choose its ids. The drive would then show the contents of one file
under the name of another.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Numbers(Generic[K]):
    """A number from `first` to `last` for each key: the one it prefers, or the next that is free. Thread-safe.

    A key keeps its number as long as this exists. Keys that are asked for in the same order get the same numbers.
    """

    def __init__(self, first: int, last: int) -> None:
        self._first, self._last = first, last
        self._of: dict[K, int] = {}
        self._taken: set[int] = set()
        self._lock = threading.Lock()

    def of(self, key: K, preferred: int) -> int:
        """The number of a key. `preferred` is any number; it is mapped into the range."""
        number = self._of.get(key)
        return self._given(key, preferred) if number is None else number

    def _given(self, key: K, preferred: int) -> int:
        with self._lock:
            known = self._of.get(key)
            if known is not None:
                return known
            number = self._first + (preferred - self._first) % (self._last - self._first + 1)
            while number in self._taken:
                number = number + 1 if number < self._last else self._first
            self._taken.add(number)
            self._of[key] = number
            return number
