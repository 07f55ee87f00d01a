"""Reads extents: from memory, from disk or from the store; decrypts, decompresses and verifies them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

import msgspec

from cache.blocks import Block, Blocks
from cache.counters import Counters
from cache.fetcher import Fetcher
from cache.openfile import OpenFile
from catalog import held
from catalog.errors import Damaged, ShortRead, StoreUnreachable
from catalog.format.blocks import Buffer, PackKind
from catalog.format.packs import Extent
from catalog.format.pages import (
    FolderIndex,
    Leaf,
    PieceIndex,
    PieceLeaf,
    decode_folder_index,
    decode_leaf,
    decode_piece_index,
    decode_piece_leaf,
)
from catalog.format.values import Paged, Piece
from catalog.heap import steady_heap
from catalog.processors import usable_processors
from catalog.vault import Vault

if TYPE_CHECKING:
    from cache.disk import DiskCache, DiskStatus

MIB = 1 << 20
PAGE_COST = 8  # bytes that a decoded page occupies for each encoded byte, about
DECODERS = 4  # threads that decode ahead of need, at most: 2 MiB of a file are decoded ahead, 2 to 8 blocks
Page = TypeVar("Page")


class WouldWait(Exception):
    """The data is not decoded in memory, and this thread must neither wait for it nor decode it.

    `at` is the chunk whose block is missing, if it is that.
    """

    def __init__(self, at: Extent | None = None) -> None:
        super().__init__()
        self.at = at


class _WithoutWaiting(threading.local):
    """A context in which the current thread must not wait. May be nested."""

    depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *_error: object) -> None:
        self.depth -= 1


class _Patience(threading.local):
    """When the current thread gives up waiting for the store (catalog.held.clock)."""

    until = float("inf")


class ReaderStatus(msgspec.Struct, frozen=True):
    """The work of a reader since its start, and the bytes that it holds now.

    Of the bytes read ahead, `ahead_used` were used and `ahead_wasted` dropped unused; `ahead_bytes` are held or
    under way. `memory_bytes` of decoded blocks, `page_bytes` and `ahead_bytes` share the limit `memory`.
    """

    store_requests: int
    bytes_fetched: int
    bytes_served: int
    blocks_from_memory: int
    blocks_from_disk: int
    blocks_from_store: int
    verify_failures: int
    ahead_used: int
    ahead_wasted: int
    ahead_bytes: int
    memory_bytes: int
    page_bytes: int
    memory: int
    disk: DiskStatus | None


class Reader:
    """Reads blocks, pages and files of one vault; a catalog.tree.PageSource. Thread-safe.

    `memory` (bytes) bounds what all readers together have in memory: decoded blocks and pages, and what is read
    ahead, being decoded or waiting for the disk. `page_memory` (bytes) bounds decoded tree pages in it. Tree blocks
    are kept on `disk`, if given, and data blocks as well unless `disk_data` is False. The reader does not close the
    disk cache or the vault's store. No read waits for the store longer than `timeout` seconds, nor beyond the
    moment that the thread has set with `giving_up_at`; after that the next read asks again.
    """

    def __init__(
        self,
        vault: Vault,
        *,
        memory: int = 80 * MIB,
        disk: DiskCache | None = None,
        disk_data: bool = True,
        timeout: float = 60.0,
        parallel: int = 8,
        page_memory: int = 24 * MIB,
    ) -> None:
        steady_heap()
        self.vault = vault
        self.counters = Counters()
        self._without_waiting = _WithoutWaiting()
        self._patience = _Patience()
        self._timeout = timeout
        self._disk = disk
        self._disk_data = disk_data
        self._memory = memory
        self._blocks = Blocks(memory, page_memory, disk.waiting if disk is not None else lambda: 0)
        self._lock = threading.Lock()
        self._flights: dict[tuple[bytes, int], Future[Block]] = {}
        self._fetcher = Fetcher(
            vault,
            self.counters,
            limit=lambda: self._blocks.for_ahead,
            timeout=timeout,
            patience=self._seconds_left,
            parallel=parallel,
            resized=self._blocks.read_ahead,
        )
        self._decoders = ThreadPoolExecutor(min(usable_processors(), DECODERS), "decode")

    # --- threads that must not wait -----------------------------------------------------------------------

    def without_waiting(self) -> AbstractContextManager[None]:
        """A context in which this thread gets WouldWait from all that would wait or decode a block.

        For threads that serve other callers, too: they let a thread that may wait begin the same read again.
        """
        return self._without_waiting

    def must_not_wait(self) -> bool:
        """Whether this thread is inside `without_waiting`."""
        return self._without_waiting.depth > 0

    @contextmanager
    def giving_up_at(self, moment: float) -> Iterator[None]:
        """A context in which this thread waits for the store until `moment` (catalog.held.clock) at most.

        For work that reads several times, and must end in time as a whole.
        """
        before = self._patience.until
        self._patience.until = min(moment, before)
        try:
            yield
        finally:
            self._patience.until = before

    def _seconds_left(self) -> float:
        """For how long this thread may wait now."""
        return min(self._timeout, max(self._patience.until - held.clock(), 0.0))

    # --- pages --------------------------------------------------------------------------------------------

    def leaf(self, at: Extent) -> Leaf:
        return self._page(at, decode_leaf)

    def folder_index(self, at: Extent) -> FolderIndex:
        return self._page(at, decode_folder_index)

    def piece_leaf(self, at: Extent) -> PieceLeaf:
        return self._page(at, decode_piece_leaf)

    def piece_index(self, at: Extent) -> PieceIndex:
        return self._page(at, decode_piece_index)

    def _page(self, at: Extent, decode: Callable[[memoryview, Extent], Page]) -> Page:
        page: Page | None = self._blocks.page(at)
        if page is None:
            page = decode(self.chunk(PackKind.TREE, at), at)
            self._blocks.put_page(at, page, PAGE_COST * at.length)
        return page

    # --- chunks -------------------------------------------------------------------------------------------

    def chunk(self, kind: PackKind, at: Extent, *, alone: bool = False) -> memoryview:
        """The verified bytes of a chunk. Raises Damaged, MissingData or StoreError.

        `alone`: its neighbours are not expected to be read, so nothing is read ahead for it.
        """
        read = self._chunk_alone if alone else self._chunk
        return self.vault.with_other_copies(kind, at, read)

    def _chunk_alone(self, kind: PackKind, at: Extent) -> memoryview:
        return self._chunk(kind, at, alone=True)

    def _chunk(self, kind: PackKind, at: Extent, *, alone: bool = False) -> memoryview:
        block = self._blocks.get(kind, (at.pack, at.offset))
        if block is None:
            if self._without_waiting.depth:
                raise WouldWait(at)
            block = self._block(kind, at, alone)
        else:
            self.counters.add("blocks_from_memory")
        if block.verified.get(at.inner) != (at.length, at.id):
            try:
                self._verify(block, at)
            except Damaged as e:
                if self._without_waiting.depth:
                    raise WouldWait from e
                self._blocks.pop(kind, (at.pack, at.offset))
                block, _sealed = self._second(kind, at)
                self._blocks.put(kind, (at.pack, at.offset), block)
        return block.raw[at.inner : at.inner + at.length]

    def open(self, content: list[Piece] | Paged, size: int) -> OpenFile:
        """Open a file, by the pieces and the size (bytes) in its entry."""
        return OpenFile(self, content, size)

    # --- ahead of need ------------------------------------------------------------------------------------

    def share(self, owner: object) -> tuple[int, int]:
        return self._fetcher.share(owner)

    def disown(self, owner: object) -> None:
        self._fetcher.disown(owner)

    def expect(self, extents: Sequence[Extent], *, owner: object = None) -> bool:
        missing = [e for e in extents if not self._is_cached(e)]
        if owner is not None and missing and not self._fetcher.room(sum(e.stored for e in missing), owner):
            return False
        if missing:
            self._fetcher.fetch(PackKind.DATA, missing, owner=owner)
        return True

    def prepare(self, at: Extent) -> None:
        """Decode a data block in another thread, if its bytes are cached."""
        key = (at.pack, at.offset)
        if self._blocks.has_data(key) or key in self._flights:
            return
        if self._fetcher.ready(PackKind.DATA, at) or self._on_disk(PackKind.DATA, at):
            try:
                self._decoders.submit(self._block, PackKind.DATA, at)
            except RuntimeError:
                pass  # the reader was closed

    def decode_ahead(self, at: Extent) -> None:
        """Fetch and decode a tree block in another thread."""
        key = (at.pack, at.offset)
        if key not in self._flights and self._blocks.get(PackKind.TREE, key) is None:
            with suppress(RuntimeError):  # the reader was closed
                self._decoders.submit(self._block, PackKind.TREE, at)

    def _is_cached(self, at: Extent) -> bool:
        key = (at.pack, at.offset)
        return self._blocks.has_data(key) or key in self._flights or self._on_disk(PackKind.DATA, at)

    def _on_disk(self, kind: PackKind, at: Extent) -> bool:
        disk = self._disk_for(kind)
        return disk is not None and disk.has(kind, self._disk_key(at))

    # --- blocks -------------------------------------------------------------------------------------------

    def _block(self, kind: PackKind, at: Extent, alone: bool = False) -> Block:
        key = (at.pack, at.offset)
        with self._lock:
            flight = self._flights.get(key)
            mine = flight is None
            if flight is None:
                block = self._blocks.get(kind, key)
                if block is not None:  # another thread has finished it meanwhile
                    return block
                flight = self._flights[key] = Future()
        if not mine:
            try:
                return held.result(flight, self._seconds_left())
            except FutureTimeout as e:
                raise StoreUnreachable(
                    f"no answer within {self._timeout:.0f} s to a read that another reader waits for, too"
                ) from e
        try:
            with self._blocks.loading(at.stored):
                block = self._load(kind, at, alone)
            self._blocks.put(kind, key, block)
            flight.set_result(block)
            return block
        except BaseException as e:
            flight.set_exception(e)
            raise
        finally:
            with self._lock:
                del self._flights[key]

    def _load(self, kind: PackKind, at: Extent, alone: bool) -> Block:
        disk, key = self._disk_for(kind), self._disk_key(at)
        sealed: Buffer | None = None
        if disk is not None and not self._fetcher.ready(kind, at):
            sealed = disk.get(kind, key)
        from_disk = sealed is not None
        if sealed is None:
            try:
                sealed = self._fetcher.take(kind, at, alone=alone)
            except (Damaged, ShortRead) as e:
                block, sealed = self.vault.lost_block(kind, at, e, lambda found: self._taken(kind, at, found))
                if disk is not None:
                    disk.put(kind, key, sealed)
                return block
            if disk is not None:
                sealed = bytes(sealed)  # the disk keeps it for a while; a view would keep more
        try:
            block = self._open(kind, at, sealed)
            self._verify(block, at)
        except Damaged:
            block, sealed = self._second(kind, at)
            from_disk = False
        self.counters.add("blocks_from_disk" if from_disk else "blocks_from_store")
        if disk is not None and not from_disk:
            disk.put(kind, key, sealed)
        return block

    def _second(self, kind: PackKind, at: Extent) -> tuple[Block, Buffer]:
        """The block after its first copy failed verification, and its sealed bytes. Raises as `chunk`."""

        return self.vault.second_read(
            kind,
            at,
            lambda: self._taken(kind, at, self._again(kind, at)),
            lambda found: self._taken(kind, at, found),
        )

    def _taken(self, kind: PackKind, at: Extent, sealed: Buffer) -> tuple[Block, Buffer]:
        """A block, verified, and its sealed bytes. Raises Damaged."""
        block = self._open(kind, at, sealed)
        self._verify(block, at)
        return block, sealed

    def _again(self, kind: PackKind, at: Extent) -> Buffer:
        """Drop a copy that failed verification, and fetch the block once more."""
        disk = self._disk_for(kind)
        if disk is not None:
            disk.drop(kind, self._disk_key(at))
        return self._fetcher.fresh(kind, at)

    def _open(self, kind: PackKind, at: Extent, sealed: Buffer) -> Block:
        try:
            return Block(self.vault.open_block(kind, at, sealed))
        except Damaged:
            self.counters.add("verify_failures")
            raise

    def _verify(self, block: Block, at: Extent) -> None:
        data = block.raw[at.inner : at.inner + at.length]
        if len(data) != at.length or self.vault.keys.chunk_id(data) != at.id:
            self.counters.add("verify_failures")
            raise Damaged(f"a chunk in block {at.pack.hex()[:8]}+{at.offset} differs from what was written there")
        block.verified[at.inner] = (at.length, at.id)

    def _disk_for(self, kind: PackKind) -> DiskCache | None:
        return self._disk if kind is PackKind.TREE or self._disk_data else None

    def _disk_key(self, at: Extent) -> bytes:
        return self.vault.id + at.pack + at.offset.to_bytes(8, "big")

    # --- status -------------------------------------------------------------------------------------------

    def status(self) -> ReaderStatus:
        count = self.counters
        held, used, wasted = self._fetcher.held
        return ReaderStatus(
            count["store_requests"], count["bytes_fetched"], count["bytes_served"], count["blocks_from_memory"],
            count["blocks_from_disk"], count["blocks_from_store"], count["verify_failures"],
            ahead_used=used, ahead_wasted=wasted, ahead_bytes=held,
            memory_bytes=self._blocks.held, page_bytes=self._blocks.page_bytes, memory=self._memory,
            disk=self._disk.status() if self._disk is not None else None,
        )  # fmt: skip

    def close(self) -> None:
        """End the threads and drop all data. Reads under way may raise StoreUnreachable."""
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._fetcher.close()
        self._blocks.clear()
