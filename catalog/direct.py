"""Reads trees, and small files, straight from the store, without a cache, for commands that read once and end."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from catalog.errors import Damaged, MissingData, RpdriveError, ShortRead
from catalog.format.blocks import Buffer, PackKind
from catalog.format.packs import HEADER, Extent
from catalog.tree import ChunkSource
from catalog.vault import Vault

KEPT = 32 << 20  # bytes of decoded blocks that are kept, and as many of sealed ones
PARALLEL = 8  # requests at once
GAP = 256 << 10  # bytes between two blocks that are read with them, since a request costs more
# Bytes read around a block, by the number of earlier reads of its pack: a lookup reads only what it needs, a walk
# soon reads large ranges.
WINDOWS = (0, 256 << 10, 1 << 20, 4 << 20)


class _Span(NamedTuple):
    """Sealed bytes of a pack, from offset `start`."""

    start: int
    data: bytes

    @property
    def end(self) -> int:
        return self.start + len(self.data)


class DirectSource(ChunkSource):
    """Pages of a vault's trees; with `kind`, the contents of files. Not thread-safe.

    Keeps recently used blocks, and fetches neighbours with them.
    """

    def __init__(self, vault: Vault, kind: PackKind = PackKind.TREE) -> None:
        self._vault, self._kind = vault, kind
        self._blocks: OrderedDict[tuple[bytes, int], Buffer] = OrderedDict()
        self._block_bytes = 0
        self._spans: dict[bytes, list[_Span]] = {}
        self._span_order: deque[tuple[bytes, _Span]] = deque()
        self._span_bytes = 0
        self._reads: dict[bytes, int] = {}  # requests so far, by pack

    def chunk(self, at: Extent) -> Buffer:
        """The verified bytes of a chunk. Raises Damaged, MissingData or StoreError."""
        return self._vault.with_other_copies(self._kind, at, self._read)

    def _read(self, kind: PackKind, at: Extent) -> Buffer:
        """The bytes of a chunk; what is damaged is fetched once more."""
        try:
            return self._chunk(at)
        except (MissingData, ShortRead) as e:
            return self._vault.lost_block(kind, at, e, lambda sealed: self._taken(at, sealed))
        except Damaged:
            self._drop(at)
        return self._vault.second_read(kind, at, lambda: self._chunk(at), lambda sealed: self._taken(at, sealed))

    def _taken(self, at: Extent, sealed: Buffer) -> Buffer:
        """The verified bytes of a chunk, from the sealed bytes of its block. Raises Damaged."""
        self._drop(at)
        self._keep(at, self._vault.open_block(self._kind, at, sealed))
        try:
            return self._chunk(at)
        except Damaged:
            self._drop(at)
            raise

    def _chunk(self, at: Extent) -> Buffer:
        raw = memoryview(self._block(at))[at.inner : at.inner + at.length]
        if len(raw) != at.length or self._vault.keys.chunk_id(raw) != at.id:
            raise Damaged(f"block {at.pack.hex()[:8]}+{at.offset} does not contain the expected chunk")
        return raw

    def _drop(self, at: Extent) -> None:
        """Forget what is kept of the object that holds a block, so that it is fetched again."""
        block = self._blocks.pop((at.pack, at.offset), None)
        self._block_bytes -= 0 if block is None else len(block)
        holder = self._locate(at).pack
        for span in self._spans.pop(holder, ()):
            self._span_order.remove((holder, span))
            self._span_bytes -= len(span.data)

    def ready(self, pages: Sequence[Extent]) -> None:
        """Fetch the blocks of these pages that are not kept: several at a time, with neighbours in one request.

        Fetches as many as can be kept. Errors are left to `chunk`, which tries again.
        """
        missing: dict[tuple[bytes, int], Extent] = {}
        size = 0
        for at in pages:
            held = self._locate(at)
            place = held.pack, held.offset
            if (at.pack, at.offset) in self._blocks or place in missing or self._sealed(held) is not None:
                continue
            size += at.stored
            if size > KEPT:
                break
            missing[place] = held
        ranges: list[list[Extent]] = []
        for _place, at in sorted(missing.items()):
            before = ranges[-1][-1] if ranges else None
            if (
                before is not None
                and before.pack == at.pack
                and at.offset - (before.offset + before.stored) <= GAP
                and at.offset + at.stored - ranges[-1][0].offset <= WINDOWS[-1]
            ):
                ranges[-1].append(at)
            else:
                ranges.append([at])
        if len(missing) < 2:
            return  # `chunk` is as fast, and fetches neighbours, too
        with ThreadPoolExecutor(min(PARALLEL, len(ranges)), "trees") as pool:
            for extents, data in zip(ranges, pool.map(self._range, ranges), strict=True):
                if data is not None:
                    self._hold(extents[0].pack, _Span(extents[0].offset, data))

    def _range(self, extents: list[Extent]) -> bytes | None:
        low, high = extents[0].offset, extents[-1].offset + extents[-1].stored
        try:
            return self._vault.read_pack(self._kind, extents[0].pack, low, high - low, up_to=True)
        except RpdriveError:
            return None

    def _locate(self, at: Extent) -> Extent:
        """The extent with the object that holds the block, and its offset there: spans and reads are of objects."""
        return self._vault.places.locate(self._kind, at)

    def _block(self, at: Extent) -> Buffer:
        place = at.pack, at.offset
        block = self._blocks.get(place)
        if block is None:
            block = self._keep(at, self._vault.open_block(self._kind, at, self._fetched(at)))
        self._blocks.move_to_end(place)
        return block

    def _keep(self, at: Extent, block: Buffer) -> Buffer:
        self._blocks[at.pack, at.offset] = block
        self._block_bytes += len(block)
        while self._block_bytes > KEPT and len(self._blocks) > 1:
            self._block_bytes -= len(self._blocks.popitem(last=False)[1])
        return block

    def _fetched(self, at: Extent) -> Buffer:
        """The sealed bytes of a block."""
        held = self._locate(at)
        sealed = self._sealed(held)
        if sealed is not None:
            return sealed
        try:
            return self._fetch(held)
        except MissingData:
            now = self._locate(at)  # the failed read has looked where it is
            if now == held:
                raise
            return self._fetch(now)

    def _sealed(self, at: Extent) -> Buffer | None:
        for span in self._spans.get(at.pack, ()):
            if span.start <= at.offset and at.offset + at.stored <= span.end:
                return memoryview(span.data)[at.offset - span.start :][: at.stored]
        return None

    def _fetch(self, at: Extent) -> Buffer:
        reads = self._reads.get(at.pack, 0)
        self._reads[at.pack] = reads + 1
        window = WINDOWS[min(reads, len(WINDOWS) - 1)]
        if window == 0:
            return self._vault.fetch_block(self._kind, at)
        # Most of the window is after the block, where a walk continues.
        low = max(HEADER.size, at.offset - window // 4)
        high = at.offset + at.stored + window * 3 // 4
        for span in self._spans.get(at.pack, ()):  # leave out what is kept already
            if span.start <= at.offset:
                low = max(low, min(span.end, at.offset))
            else:
                high = min(high, max(span.start, at.offset + at.stored))
        data = self._vault.read_pack(self._kind, at.pack, low, high - low, up_to=True)
        if low + len(data) < at.offset + at.stored:
            return self._vault.fetch_block(self._kind, at)  # raises the error that fits
        self._hold(at.pack, _Span(low, data))
        return memoryview(data)[at.offset - low :][: at.stored]

    def _hold(self, pack: bytes, span: _Span) -> None:
        self._spans.setdefault(pack, []).append(span)
        self._span_order.append((pack, span))
        self._span_bytes += len(span.data)
        while self._span_bytes > KEPT and len(self._span_order) > 1:
            oldest, dropped = self._span_order.popleft()
            self._spans[oldest].remove(dropped)
            if not self._spans[oldest]:
                del self._spans[oldest]
            self._span_bytes -= len(dropped.data)
