"""Inode numbers given out while a drive is open: no two things ever share one.

Numbers derived from ids alone would meet: by chance at some ten thousand points (a number has room for 31 bits of a
point's id), or on purpose, since a machine can choose its ids. The drive would then show the contents of one file
under the name of another.
"""

from __future__ import annotations

import hashlib
import threading
from array import array
from bisect import bisect_left
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


_BITS = 31  # of a number of ManyNumbers,
_MARK_BITS = 64 - _BITS  # and of what tells keys apart that prefer the same one
_PARTS = 4096


class ManyNumbers:
    """As Numbers, from 1 to 2^31 - 1, in 8 bytes for each key: the points of a drive may be millions. Thread-safe.

    Keys are not kept, but 33 bits of a hash of each, keyed with `secret`, beside its number: two keys that want the
    same number are taken for one in 1 of 8 billion cases, and nobody can choose names for which that happens.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        # Numbers with their marks below them, sorted, by the upper bits of the number: so inserting moves little.
        self._parts = [array("Q") for _ in range(_PARTS)]
        self._lock = threading.Lock()

    def of(self, key: bytes, preferred: int) -> int:
        """The number of a key. `preferred` is any number; it is mapped into the range."""
        digest = hashlib.blake2b(key, key=self._secret, digest_size=8).digest()
        mark = int.from_bytes(digest) >> _BITS
        number = (preferred - 1) % ((1 << _BITS) - 1) + 1
        with self._lock:
            while True:
                part = self._parts[number * _PARTS >> _BITS]
                n = bisect_left(part, number << _MARK_BITS)
                if n == len(part) or part[n] >> _MARK_BITS != number:
                    part.insert(n, number << _MARK_BITS | mark)
                    return number
                if part[n] & (1 << _MARK_BITS) - 1 == mark:
                    return number
                number = number % ((1 << _BITS) - 1) + 1
