"""What is decoded in memory: blocks of data, blocks of trees, and pages of trees. They share one limit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from cache.memory import Lru
from catalog.format.blocks import Buffer, PackKind
from catalog.format.packs import Extent

TREES = 3  # blocks of trees take at most a third of the memory: a walk needs few of them at a time
_GONE = 256  # blocks of data that were evicted last, by their keys
Key: TypeAlias = tuple[bytes, int]  # pack and offset


class Block:
    """A decoded block, and its chunks that were verified: offset in it -> (length, id)."""

    __slots__ = ("raw", "verified")

    def __init__(self, raw: Buffer) -> None:
        self.raw = memoryview(raw)
        self.verified: dict[int, tuple[int, bytes]] = {}


def _size(block: Block) -> int:
    return block.raw.nbytes


def _nothing() -> int:
    return 0


class Blocks:
    """The most recently used blocks and pages of all readers of a drive. Thread-safe.

    `memory` (bytes) bounds them together with what is read ahead, what is being decoded, and what `queued` says
    waits to be written to the disk. `page_memory` (bytes) bounds the pages. Blocks of data take what the others
    leave, and half of it at least.

    A walk through a large tree decodes every block of it once; its pages are kept elsewhere. Without a limit
    of their own such blocks would fill the memory, and stay.
    """

    def __init__(self, memory: int, page_memory: int = 0, queued: Callable[[], int] = _nothing) -> None:
        self._memory = memory
        self._queued = queued
        self._ahead = 0
        self._in_vain = False
        self._loading = 0
        self._most_ahead = memory * 5 // 8  # 50 MiB of the default: three range reads at once
        self.for_ahead = self._most_ahead  # bytes that may be read ahead now
        self._gone: Lru[Key, bool] = Lru(_GONE)
        self._data: Lru[Key, Block] = Lru(memory, _size, lambda key: self._gone.put(key, True))
        self._trees: Lru[Key, Block] = Lru(memory // TREES, _size)
        self._pages: Lru[Extent, tuple[Any, int]] = Lru(page_memory, lambda page: page[1])
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes of all blocks."""
        return self._data.held + self._trees.held

    @property
    def page_bytes(self) -> int:
        """Bytes of all pages, about."""
        return self._pages.held

    def get(self, kind: PackKind, key: Key) -> Block | None:
        return self._of(kind).get(key)

    def has_data(self, key: Key) -> bool:
        return key in self._data

    def put(self, kind: PackKind, key: Key, block: Block) -> None:
        if kind is PackKind.TREE:
            self._trees.put(key, block)
            self._share()
        else:
            if self._data.held + _size(block) > self._data.limit:
                self._claim_half()
            self._data.put(key, block)
            self._adapt(key, _size(block))

    def pop(self, kind: PackKind, key: Key) -> None:
        self._of(kind).pop(key)

    def page(self, at: Extent) -> Any:
        """A decoded page, or None."""
        found = self._pages.get(at)
        return found[0] if found is not None else None

    def put_page(self, at: Extent, page: object, cost: int) -> None:
        """Keep a decoded page that occupies `cost` bytes, about."""
        self._pages.put(at, (page, cost))
        self._share()

    def read_ahead(self, held: int, in_vain: bool = False) -> None:
        """Leave room for this many bytes that are read ahead. `in_vain`: most of what was is dropped unused."""
        self._ahead, self._in_vain = held, in_vain
        self._share()

    @contextmanager
    def loading(self, size: int) -> Iterator[None]:
        """Leave room for this many bytes while a block is being decoded."""
        with self._lock:
            self._loading += size
        self._share()
        try:
            yield
        finally:
            with self._lock:
                self._loading -= size

    def clear(self) -> None:
        self._data.clear()
        self._trees.clear()
        self._pages.clear()

    def _of(self, kind: PackKind) -> Lru[Key, Block]:
        return self._trees if kind is PackKind.TREE else self._data

    def _room(self) -> int:
        return self._memory - self._ahead - self._loading - self._queued()

    def _share(self) -> None:
        with self._lock:
            self._resize()

    def _resize(self) -> None:
        self._data.resize(self._room() - self._trees.held - self._pages.held)

    def _adapt(self, key: Key, size: int) -> None:
        """Divide the memory between blocks in use and what is read ahead: many readers at once need the former.

        A block that comes back was evicted while a reader still needed it. That happens to a single reader of
        scattered files, too, but then what is read ahead is used.
        """
        if key in self._gone:
            self._gone.pop(key)
            if self._in_vain:
                self.for_ahead = max(self.for_ahead // 2, self._most_ahead // 16)
        elif self.for_ahead < self._most_ahead:
            self.for_ahead = min(self.for_ahead + size // 16, self._most_ahead)

    def _claim_half(self) -> None:
        """Give data half of the room: trees and pages keep what fits into the other half."""
        with self._lock:
            room = self._room()
            if self._data.limit < room // 2:
                self._trees.shrink(room // 4)
                self._pages.shrink(room // 4)
            self._resize()
