"""Open files of a local vault, kept open for the next read of the same pack."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from catalog.systems.this import SYSTEM


class _Open:
    def __init__(self, number: int, users: int) -> None:
        self.number, self.users, self.dropped = number, users, False


class Descriptors:
    """At most `limit` idle descriptors, the least recently used closed first. Thread-safe.

    A descriptor in use is never closed: the system would reuse its number, and the reader would get the bytes
    of another file. `opener` opens a file by its name, and raises OSError.
    """

    def __init__(self, limit: int = 64, opener: Callable[[str], int] = SYSTEM.open_file) -> None:
        self._limit = limit
        self._opener = opener
        self._lock = threading.Lock()
        self._open: OrderedDict[str, _Open] = OrderedDict()

    @contextmanager
    def borrow(self, name: str) -> Iterator[int]:
        """A descriptor of the file that has this name now, for use with pread(2) only."""
        held = self._taken(name)
        try:
            yield held.number
        except OSError:
            self.drop(name)
            raise
        finally:
            self._give_back(held)

    def drop(self, name: str) -> None:
        """Forget the file: the next borrower opens it again."""
        with self._lock:
            held = self._open.pop(name, None)
            if held is not None:
                self._discard(held)

    def close(self) -> None:
        with self._lock:
            while self._open:
                self._discard(self._open.popitem()[1])

    def _taken(self, name: str) -> _Open:
        with self._lock:
            held = self._open.get(name)
            if held is not None:
                held.users += 1
                self._open.move_to_end(name)
        if held is not None:
            try:
                # A file that was deleted or replaced since it was opened has no links left.
                if os.fstat(held.number).st_nlink > 0:
                    return held
            except OSError:
                pass
            self.drop(name)
            self._give_back(held)
        return self._opened(name)

    def _opened(self, name: str) -> _Open:
        held = _Open(self._opener(name), 1)
        with self._lock:
            if name in self._open:  # another thread was faster; close this one when it is given back
                held.dropped = True
                return held
            self._open[name] = held
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
