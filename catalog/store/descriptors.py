"""Open files of a local vault, kept open for the next read of the same pack."""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from catalog.systems.this import SYSTEM


@dataclass
class _Open:
    number: int
    users: int = 0
    dropped: bool = False


class Descriptors:
    """At most `limit` idle descriptors, the least recently used closed first. Thread-safe.

    A descriptor in use is never closed: the system would reuse its number, and the reader would get the bytes
    of another file. Raises OSError like open(2), and FileNotFoundError for a folder, since no object is one.
    """

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._open: OrderedDict[str, _Open] = OrderedDict()

    @contextmanager
    def borrow(self, path: str) -> Iterator[int]:
        """A descriptor of the file that has this path now, for use with pread(2) only."""
        held = self._taken(path)
        try:
            yield held.number
        except OSError:
            self.drop(path)
            raise
        finally:
            self._give_back(held)

    def drop(self, path: str) -> None:
        """Forget the file: the next borrower opens it again."""
        with self._lock:
            held = self._open.pop(path, None)
            if held is not None:
                self._discard(held)

    def close(self) -> None:
        with self._lock:
            while self._open:
                self._discard(self._open.popitem()[1])

    def _taken(self, path: str) -> _Open:
        with self._lock:
            held = self._open.get(path)
            if held is not None:
                held.users += 1
                self._open.move_to_end(path)
        if held is not None:
            try:
                # A file that was deleted or replaced since it was opened has no links left.
                if os.fstat(held.number).st_nlink > 0:
                    return held
            except OSError:
                pass
            self.drop(path)
            self._give_back(held)
        return self._opened(path)

    def _opened(self, path: str) -> _Open:
        number = os.open(path, SYSTEM.read_flags)
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise FileNotFoundError(f"not a file: {path}")
        held = _Open(number, users=1)
        with self._lock:
            if path in self._open:  # another thread was faster; close this one when it is given back
                held.dropped = True
                return held
            self._open[path] = held
            if len(self._open) > self._limit:
                self._discard(self._open.popitem(last=False)[1])
        return held

    def _give_back(self, held: _Open) -> None:
        with self._lock:
            held.users -= 1
            if held.dropped and held.users == 0:
                os.close(held.number)

    def _discard(self, held: _Open) -> None:
        held.dropped = True
        if held.users == 0:
            os.close(held.number)
