"""Decoded blocks in memory: of data and of trees, which share a limit."""

from __future__ import annotations

import threading
from typing import TypeAlias

from cache.memory import Lru
from catalog.format.blocks import Buffer, PackKind

TREES = 3  # blocks of trees take at most a third of the memory: a walk needs few of them at a time
Key: TypeAlias = tuple[bytes, int]  # pack and offset


class Block:
    """A decoded block, and its chunks that were verified: offset in it -> (length, id)."""

    __slots__ = ("raw", "verified")

    def __init__(self, raw: Buffer) -> None:
        self.raw = memoryview(raw)
        self.verified: dict[int, tuple[int, bytes]] = {}


def _size(block: Block) -> int:
    return block.raw.nbytes


class Blocks:
    """The most recently used blocks. `memory` (bytes) bounds them and what is read ahead. Thread-safe.

    A walk through a large tree decodes every block of it once; its pages are kept elsewhere. Without a limit
    of their own such blocks would fill the memory, and stay.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._ahead = 0
        self._data: Lru[Key, Block] = Lru(memory, _size)
        self._trees: Lru[Key, Block] = Lru(memory // TREES, _size)
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes of all blocks."""
        return self._data.held + self._trees.held

    def get(self, kind: PackKind, key: Key) -> Block | None:
        return self._of(kind).get(key)

    def has_data(self, key: Key) -> bool:
        return key in self._data

    def put(self, kind: PackKind, key: Key, block: Block) -> None:
        self._of(kind).put(key, block)
        if kind is PackKind.TREE:
            self._share()

    def pop(self, kind: PackKind, key: Key) -> None:
        self._of(kind).pop(key)

    def read_ahead(self, held: int) -> None:
        """Leave room for this many bytes that are read ahead."""
        self._ahead = held
        self._share()

    def clear(self) -> None:
        self._data.clear()
        self._trees.clear()

    def _of(self, kind: PackKind) -> Lru[Key, Block]:
        return self._trees if kind is PackKind.TREE else self._data

    def _share(self) -> None:
        with self._lock:
            self._data.resize(self._memory - self._ahead - self._trees.held)
