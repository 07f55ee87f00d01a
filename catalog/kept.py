"""Bytes by name that are kept in memory up to a limit: those that were put there first go first."""

from __future__ import annotations

import threading
from collections.abc import Iterator, MutableMapping


class Kept(MutableMapping[str, bytes]):
    """Thread-safe. `most` is in bytes; what is larger than that alone is not kept."""

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        self._held: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> bytes:
        return self._held[name]

    def __setitem__(self, name: str, data: bytes) -> None:
        with self._lock:
            self._drop(name)
            self._held[name] = data
            self._size += len(data)
            while self._size > self._most:
                self._drop(next(iter(self._held)))

    def __delitem__(self, name: str) -> None:
        with self._lock:
            if name not in self._held:
                raise KeyError(name)
            self._drop(name)

    def _drop(self, name: str) -> None:
        self._size -= len(self._held.pop(name, b""))

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._held))

    def __len__(self) -> int:
        return len(self._held)
