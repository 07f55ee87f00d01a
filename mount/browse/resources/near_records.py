"""Sealed records of a vault in memory, within a limit: a page runs for days, and asks for any number of them."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

from cache.memory import Lru

LIMIT = 24 << 20  # bytes: the machines, items, newest points and jobs of 2,000 machines are 6 MiB
_EACH = 250  # bytes that a name and its place take


class NearRecords(MutableMapping[str, bytes]):
    """The records that were used last, by name. Thread-safe. A vault in a folder has no other cache of them."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._near: Lru[str, bytes] = Lru(limit, lambda value: len(value) + _EACH)

    def __getitem__(self, name: str) -> bytes:
        value = self._near.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __setitem__(self, name: str, value: bytes) -> None:
        self._near.put(name, value)

    def __delitem__(self, name: str) -> None:
        self._near.pop(name)

    def __iter__(self) -> Iterator[str]:
        raise TypeError("records are kept by name, and not listed")

    def __len__(self) -> int:
        return len(self._near)
