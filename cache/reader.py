"""Extents to plaintext: memory, then disk, then the store; opened, decompressed and verified."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from cache.memory import Lru
from cache.openfile import OpenFile
from catalog.errors import Damaged, MissingData, ObjectNotFound
from catalog.format.blocks import Buffer, PackKind
from catalog.format.packs import Extent, pack_name
from catalog.format.trees import (
    FolderIndex,
    Leaf,
    Paged,
    Piece,
    PieceIndex,
    PieceLeaf,
    decode_folder_index,
    decode_leaf,
    decode_piece_index,
    decode_piece_leaf,
)
from catalog.vault import Vault

MIB = 1 << 20


class Block:
    """A decoded block, and which of its chunks were verified: offset in it -> (length, id)."""

    __slots__ = ("raw", "verified")

    def __init__(self, raw: Buffer) -> None:
        self.raw = memoryview(raw)
        self.verified: dict[int, tuple[int, bytes]] = {}


class Reader:
    """Reads blocks, pages and files of one vault. Thread-safe."""

    def __init__(
        self,
        vault: Vault,
        *,
        memory: int = 128 * MIB,
        disk: Any = None,
        timeout: float = 60.0,
        parallel: int = 8,
        page_memory: int = 24 * MIB,
    ) -> None:
        self.vault = vault
        self._blocks: Lru[tuple[bytes, int], Block] = Lru(memory, lambda b: b.raw.nbytes)
        self._pages: Lru[Extent, tuple[Any, int]] = Lru(page_memory, lambda p: p[1])
        self._lock = threading.Lock()
        self._flights: dict[tuple[bytes, int], Future[Block]] = {}
        self._counts: dict[str, int] = {}

    # --- pages --------------------------------------------------------------------------------------------

    def leaf(self, at: Extent) -> Leaf:
        return self._page(at, decode_leaf)  # type: ignore[no-any-return]

    def folder_index(self, at: Extent) -> FolderIndex:
        return self._page(at, decode_folder_index)  # type: ignore[no-any-return]

    def piece_leaf(self, at: Extent) -> PieceLeaf:
        return self._page(at, decode_piece_leaf)  # type: ignore[no-any-return]

    def piece_index(self, at: Extent) -> PieceIndex:
        return self._page(at, decode_piece_index)  # type: ignore[no-any-return]

    def _page(self, at: Extent, decode: Any) -> Any:
        found = self._pages.get(at)
        if found is None:
            found = (decode(self.chunk(PackKind.TREE, at), at), 8 * at.length)
            self._pages.put(at, found)
        return found[0]

    # --- chunks -------------------------------------------------------------------------------------------

    def chunk(self, kind: PackKind, at: Extent) -> memoryview:
        """The verified bytes of a chunk. Damaged, MissingData, StoreError."""
        block = self._blocks.get((at.pack, at.offset))
        if block is not None and block.verified.get(at.inner) == (at.length, at.id):
            return block.raw[at.inner : at.inner + at.length]
        if block is None:
            block = self._block(kind, at)
        self._verify(block, at)
        return block.raw[at.inner : at.inner + at.length]

    def open(self, content: list[Piece] | Paged, size: int) -> OpenFile:
        """A file by its pieces and size (bytes), as they stand in its entry."""
        return OpenFile(self, content, size)

    def _verify(self, block: Block, at: Extent) -> None:
        data = block.raw[at.inner : at.inner + at.length]
        if len(data) != at.length or self.vault.keys.chunk_id(data) != at.id:
            raise Damaged(f"a chunk in block {at.pack.hex()[:8]}+{at.offset} is not what was written there")
        block.verified[at.inner] = (at.length, at.id)

    def _block(self, kind: PackKind, at: Extent) -> Block:
        key = (at.pack, at.offset)
        with self._lock:
            flight = self._flights.get(key)
            mine = flight is None
            if flight is None:
                flight = self._flights[key] = Future()
        if not mine:
            return flight.result()
        try:
            block = Block(self.vault.open_block(kind, at, self._fetch(kind, at)))
            self._blocks.put(key, block)
            flight.set_result(block)
            return block
        except BaseException as e:
            flight.set_exception(e)
            raise
        finally:
            with self._lock:
                del self._flights[key]

    def _fetch(self, kind: PackKind, at: Extent) -> bytes:
        name = pack_name(kind, at.pack)
        try:
            data = self.vault.store.read(name, at.offset, at.stored, up_to=True)
        except ObjectNotFound as e:
            raise MissingData(f"the pack {name} is missing from the vault") from e
        self._count("requests", 1)
        self._count("bytes_fetched", len(data))
        return data

    # --- what happened ------------------------------------------------------------------------------------

    def _count(self, what: str, n: int) -> None:
        with self._lock:
            self._counts[what] = self._counts.get(what, 0) + n

    def served(self, n: int) -> None:
        """Count bytes given to a caller."""
        self._count("bytes_served", n)

    def status(self) -> dict[str, int]:
        """Counters since the start."""
        with self._lock:
            return dict(self._counts)

    def close(self) -> None:
        """Drop what is held."""
        self._blocks.clear()
        self._pages.clear()
