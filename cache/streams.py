"""Detects sequential reads across files and sizes the read-ahead. No I/O.

Small files that are read in the order of their folder are adjacent in a pack, and so are the pages of a tree. The
reader does not know where the blocks after one begin or where a pack ends, so a stream is only how far a pack was
read. For a block read on its own, that block alone is fetched. The first block after the end of a stream confirms
it, and each further step doubles its window, up to 4 MiB: larger windows save few requests and cost memory for each
of several streams.
"""

from __future__ import annotations

from collections import OrderedDict

from catalog.format.blocks import PackKind
from catalog.format.packs import HEADER, PACK_TARGET

MIB = 1 << 20
FIRST_WINDOW = MIB
WINDOW = 4 * MIB
SURE = 2 * MIB  # a stream with this window or more keeps it in the next pack
REACH = 256 << 10  # bytes beyond the end of a stream where a read still continues it
TREE_START = 512 << 10  # bytes read at once from the start of a tree pack; small packs are read whole
TREE_ALONE = 192 << 10  # bytes read around a tree block elsewhere, to get the pages of its neighbours
PACK_END = PACK_TARGET + MIB  # about where a pack of small files ends
AROUND = (0, 256 << 10, MIB, 4 * MIB)  # bytes read around a block in a carrier
CONFIRMED = 8  # streams
ENDS = 1024  # packs whose end is remembered
CANDIDATES = 256  # blocks read on their own: many may come between the first two blocks of a stream


class Stream:
    """The range of a pack that was read in sequence, from `start` to `end`. `window` is 0 after a single block."""

    __slots__ = ("end", "kind", "pack", "start", "window")

    def __init__(self, kind: PackKind, pack: bytes, start: int, end: int, window: int) -> None:
        self.kind = kind
        self.pack = pack
        self.start = start
        self.end = end
        self.window = window


class Streams:
    """The streams of one reader. Called under one lock."""

    def __init__(self) -> None:
        self._confirmed: OrderedDict[Stream, None] = OrderedDict()
        self._candidates: OrderedDict[Stream, None] = OrderedDict()
        self._packs: dict[bytes, list[Stream]] = {}
        self._ends: OrderedDict[bytes, int] = OrderedDict()  # where packs end, if that was seen
        self._reads: OrderedDict[bytes, tuple[int, int]] = (
            OrderedDict()
        )  # of carriers: reads, and bytes around them
        self._ended: dict[PackKind, int] = {}  # windows of streams that reached the end of a pack

    def missing(
        self, kind: PackKind, pack: bytes, start: int, end: int, most: int = WINDOW
    ) -> tuple[int, int, Stream | None]:
        """The range to fetch for a block that is needed and not held, and the stream that it belongs to, if any.

        `most` (bytes) bounds what is read ahead of data now.
        """
        stream = self._find(pack, start)
        if stream is not None:
            if end <= stream.end:
                return start, end, None  # it was fetched before, and dropped
            return start, self._advance(stream, max(start, stream.end), end, most), stream
        if kind is PackKind.TREE:
            if end <= TREE_START:
                low, high = HEADER.size, TREE_START
            else:
                low, high = start, max(end, start + TREE_ALONE)
            self._begin(Stream(kind, pack, low, high, 0))
            return low, high, None
        window = self._ended.get(kind, 0) if start == HEADER.size else 0
        high = max(end, start + min(window, most))
        stream = Stream(kind, pack, start, high, window)
        self._begin(stream)
        return start, high, stream

    def used(self, pack: bytes, start: int, end: int, most: int = WINDOW) -> tuple[Stream, int, int] | None:
        """Note that a block was taken. Returns the range that should be under way now, if any."""
        stream = self._find(pack, start)
        if stream is None or not stream.window or end + stream.window // 2 <= stream.end:
            return None
        if stream.end >= self._ends.get(pack, stream.end + 1):
            self._came_to_end(stream)
            return None
        low = stream.end
        high = self._advance(stream, low, low, most)
        return (stream, low, high) if high > low else None

    def fetched(self, kind: PackKind, pack: bytes, asked: int, end: int) -> None:
        """Note that a range up to `asked` was fetched. It ends at `end`, which is less where the pack ends."""
        if end < asked:
            self.ends_at(pack, end)
        for stream in list(self._packs.get(pack, ())):
            if end < asked:
                if stream.end >= end:
                    self._came_to_end(stream)
            elif stream.start == HEADER.size and stream.window:
                self._ended.pop(kind, None)  # continued by this pack

    def ends_at(self, pack: bytes, end: int) -> None:
        """Note where a pack, or a part of it that is read in sequence, ends."""
        self._ends[pack] = end
        if len(self._ends) > ENDS:
            self._ends.popitem(last=False)

    def around(self, pack: bytes, start: int, end: int) -> tuple[int, int]:
        """The range to fetch for a block in a carrier, by the number of earlier reads of the carrier.

        What was saved at different times lies together there, so a walk in the order of names reads all of it, but
        not in its order: a lookup reads only what it needs, a walk soon reads large ranges. Once it has read as
        much as a carrier has, there is no room for it, and it reads single blocks.
        """
        reads, size = self._reads.pop(pack, (0, 0))
        window = AROUND[min(reads, len(AROUND) - 1)] if size < PACK_TARGET else 0
        self._reads[pack] = reads + 1, size
        if len(self._reads) > ENDS:
            self._reads.popitem(last=False)
        return max(HEADER.size, start - window // 4), end + window * 3 // 4

    def widened(self, pack: bytes, size: int) -> None:
        """Note that so many bytes of a carrier are fetched around a block."""
        reads, before = self._reads.get(pack, (0, 0))
        self._reads[pack] = reads, before + size

    def passed(self, pack: bytes, start: int, end: int) -> None:
        """Note that a range was fetched for other reasons: a stream that ends there has it, too."""
        for stream in self._packs.get(pack, ()):
            if start <= stream.end + REACH and end > stream.end:
                stream.end = end

    def failed(self, pack: bytes) -> None:
        """Note that a pack can't be read: forget its streams."""
        for stream in list(self._packs.get(pack, ())):
            self._forget(stream)

    def _find(self, pack: bytes, start: int) -> Stream | None:
        for stream in self._packs.get(pack, ()):
            if stream.start <= start <= stream.end + REACH:
                return stream
        return None

    def _advance(self, stream: Stream, start: int, end: int, most: int) -> int:
        """The end of the next window, which begins at `start` and must reach `end`."""
        stream.window = min(max(2 * stream.window, FIRST_WINDOW), WINDOW)
        if stream.kind is not PackKind.TREE and stream.window > most:
            stream.window = max(most, FIRST_WINDOW)
            high = max(end, start + most if most >= FIRST_WINDOW else 0)
        else:
            high = max(end, start + stream.window)
        if high > PACK_END - stream.window // 2 and start < PACK_END and most >= WINDOW:
            high = max(high, PACK_END + stream.window // 2)  # no separate request for the last bytes of a pack
        stream.end = high
        self._candidates.pop(stream, None)
        self._confirmed[stream] = None
        self._confirmed.move_to_end(stream)
        if len(self._confirmed) > CONFIRMED:
            self._forget(next(iter(self._confirmed)))
        return high

    def _begin(self, stream: Stream) -> None:
        self._candidates[stream] = None
        self._packs.setdefault(stream.pack, []).append(stream)
        if len(self._candidates) > CANDIDATES:
            self._forget(next(iter(self._candidates)))

    def _came_to_end(self, stream: Stream) -> None:
        self._forget(stream)
        if stream.window >= SURE:
            self._ended[stream.kind] = stream.window

    def _forget(self, stream: Stream) -> None:
        streams = self._packs[stream.pack]
        streams.remove(stream)
        if not streams:
            del self._packs[stream.pack]
        self._confirmed.pop(stream, None)
        self._candidates.pop(stream, None)
