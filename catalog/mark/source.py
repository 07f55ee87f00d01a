"""Reads the pages of many trees: tree packs in large ranges, each once if memory allows.

A mark needs nearly all of a tree pack, in about the order in which it was written, and then never again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from catalog.errors import Damaged, MissingData, RpdriveError, ShortRead, Unreadable
from catalog.format.blocks import Buffer, PackKind
from catalog.format.packs import HEADER, Extent
from catalog.tree import ChunkSource
from catalog.vault import Vault

RANGE = 4 << 20  # bytes of one request
KEPT = 24 << 20  # bytes of ranges that are kept, as they are in the store
BLOCKS = 8 << 20  # bytes of decoded blocks that are kept
AHEAD = 4  # requests at once for what will be needed

_Place = tuple[bytes, int]  # an object, and the number of a range in it


class _Held:
    """A range: on its way, or its bytes. It counts as a whole one until these are there."""

    def __init__(self, ahead: Future[bytes] | None) -> None:
        self.ahead = ahead
        self.data: bytes | None = None


class RangeSource(ChunkSource):
    """Pages of a vault's trees. A context manager. Not thread-safe, though it uses threads."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._ranges: OrderedDict[_Place, _Held] = OrderedDict()
        self._bytes = 0
        self._blocks: OrderedDict[tuple[bytes, int], Buffer] = OrderedDict()
        self._block_bytes = 0
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> RangeSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def chunk(self, at: Extent) -> Buffer:
        """The verified bytes of a tree chunk. Raises Damaged, MissingData, ShortRead or another StoreError."""
        return self._vault.with_other_copies(PackKind.TREE, at, self._read)

    def ready(self, extents: Iterable[Extent]) -> None:
        """Begin to fetch the ranges of these pages, which will be needed soon, several at once."""
        for at in extents:
            held = self._vault.places.locate(PackKind.TREE, at)
            self._ahead((held.pack, held.offset // RANGE))

    def _read(self, kind: PackKind, at: Extent) -> Buffer:
        """The bytes of a chunk; what is damaged is fetched once more."""
        try:
            return self._cut(self._block(at), at)
        except MissingData:
            raise
        except (Damaged, ShortRead):
            dropped = self._blocks.pop((at.pack, at.offset), None)
            self._block_bytes -= 0 if dropped is None else len(dropped)

        def again() -> Buffer:
            return self._cut(self._vault.open_block(kind, at, self._vault.fetch_block(kind, at)), at)

        return self._vault.second_read(kind, at, again)

    def _cut(self, block: Buffer, at: Extent) -> Buffer:
        raw = memoryview(block)[at.inner : at.inner + at.length]
        if len(raw) != at.length or self._vault.keys.chunk_id(raw) != at.id:
            raise Damaged(f"block {at.pack.hex()[:8]}+{at.offset} does not contain the expected chunk")
        return raw

    def _block(self, at: Extent) -> Buffer:
        place = at.pack, at.offset
        block = self._blocks.get(place)
        if block is not None:
            self._blocks.move_to_end(place)
            return block
        block = self._vault.open_block(PackKind.TREE, at, self._sealed(at))
        self._blocks[place] = block
        self._block_bytes += len(block)
        while self._block_bytes > BLOCKS and len(self._blocks) > 1:
            self._block_bytes -= len(self._blocks.popitem(last=False)[1])
        return block

    def _sealed(self, at: Extent) -> Buffer:
        held = self._vault.places.locate(PackKind.TREE, at)
        first, last = held.offset // RANGE, (held.offset + held.stored - 1) // RANGE
        parts = []
        for n in range(first, last + 1):
            data, start = self._range((held.pack, n)), max(n * RANGE, HEADER.size)
            low, high = max(held.offset, start), min(held.offset + held.stored, (n + 1) * RANGE)
            if len(data) < high - start:
                return self._vault.fetch_block(PackKind.TREE, at)  # raises the error that fits
            parts.append(memoryview(data)[low - start : high - start])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _range(self, place: _Place) -> bytes:
        held = self._ranges.get(place)
        if held is None:
            held = self._keep(place, None)
        self._ranges.move_to_end(place)
        if held.data is None:
            ahead, held.ahead = held.ahead, None
            try:
                held.data = self._fetch(place) if ahead is None else ahead.result()
            except (MissingData, Unreadable):
                held.data = b""  # its blocks are looked for one by one
            except RpdriveError:
                self._drop(place)
                if ahead is None:
                    raise
                return self._range(place)
            self._bytes += len(held.data) - RANGE
            if len(held.data) == RANGE and (place[0], place[1] - 1) in self._ranges:
                self._ahead((place[0], place[1] + 1))  # the pack is read from its beginning to its end
        return held.data

    def _ahead(self, place: _Place) -> None:
        if place in self._ranges:
            self._ranges.move_to_end(place)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(AHEAD, "mark")
        self._keep(place, self._pool.submit(self._fetch, place))

    def _fetch(self, place: _Place) -> bytes:
        """A range of an object; shorter at its end."""
        start = max(place[1] * RANGE, HEADER.size)
        return self._vault.read_pack(PackKind.TREE, place[0], start, (place[1] + 1) * RANGE - start, up_to=True)

    def _keep(self, place: _Place, ahead: Future[bytes] | None) -> _Held:
        held = self._ranges[place] = _Held(ahead)
        self._bytes += RANGE
        if self._bytes > KEPT:
            self._settle()
        while self._bytes > KEPT and len(self._ranges) > 1:
            self._drop(next(iter(self._ranges)))
        return held

    def _settle(self) -> None:
        """Count ranges that have arrived as what they are: most packs are small."""
        for held in self._ranges.values():
            ahead = held.ahead
            if ahead is not None and ahead.done() and not ahead.cancelled() and ahead.exception() is None:
                held.data, held.ahead = ahead.result(), None
                self._bytes += len(held.data) - RANGE

    def _drop(self, place: _Place) -> None:
        held = self._ranges.pop(place)
        self._bytes -= RANGE if held.data is None else len(held.data)
        if held.ahead is not None:
            held.ahead.cancel()
