"""Ranges of packs, fetched from the store or on their way, from which blocks are cut. No I/O."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from itertools import accumulate, pairwise

from catalog.format.blocks import PackKind

MIB = 1 << 20
PART = 4 * MIB  # bytes of a part of a range of which nobody knows where its blocks end


class Parts:
    """The bytes of a range, in parts that are freed one by one. Most are whole blocks, so few are joined.

    `ends` are the ends of the parts, counted from the start of the range.
    """

    __slots__ = ("ends", "parts")

    def __init__(self, parts: Sequence[bytes]) -> None:
        self.parts = parts
        self.ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def cut(self, start: int, end: int) -> bytes | memoryview:
        """Bytes from `start` to `end`, fewer if the range ends before. Whole parts are not copied."""
        found: list[bytes | memoryview] = []
        for n in range(bisect_right(self.ends, start), len(self.parts)):
            part, low = self.parts[n], self.ends[n] - len(self.parts[n])
            if low >= end:
                break
            whole = start <= low and end >= self.ends[n]
            found.append(part if whole else memoryview(part)[max(start - low, 0) : end - low])
        return found[0] if len(found) == 1 else b"".join(found)

    def after(self, start: int) -> tuple[int, Parts]:
        """The parts that end after `start`, and where the first of them begins."""
        first = bisect_right(self.ends, start)
        return self.ends[first - 1] if first else 0, Parts(self.parts[first:])


class Span:
    """Bytes `start` to `end` of a pack or carrier. `ahead`: not all of them were needed when they were asked for.

    `owner`: the reader or stream that they were read ahead for.
    `origin`: the pack for which they were asked, and by how much offsets in it are less than here.
    `cuts`: where blocks begin, as far as that is known.
    Nothing before `done_to` is needed any more: blocks that were taken, and `gaps` bytes between blocks that
    nobody asked for.
    """

    __slots__ = (
        "ahead", "cuts", "done_to", "end", "future", "gaps", "kind", "later", "origin", "owner", "pack", "start",
    )  # fmt: skip

    def __init__(
        self,
        kind: PackKind,
        pack: bytes,
        start: int,
        end: int,
        ahead: bool,
        origin: tuple[bytes, int] | None = None,
        owner: object = None,
        cuts: Iterable[int] = (),
    ) -> None:
        self.cuts = cuts
        self.owner = owner
        self.kind = kind
        self.pack = pack
        self.origin = origin or (pack, 0)
        self.start = start
        self.end = end
        self.ahead = ahead
        self.gaps = 0
        self.done_to = start
        self.later: dict[int, int] = {}  # ranges after `done_to` that are done with: start -> end
        self.future: Future[Parts] = Future()

    @property
    def length(self) -> int:
        return self.end - self.start

    def lengths(self) -> list[int]:
        """The lengths of the parts in which to fetch it."""
        borders = [self.start, *sorted({cut for cut in self.cuts if self.start < cut < self.end}), self.end]
        return [min(PART, high - at) for low, high in pairwise(borders) for at in range(low, high, PART)]

    @property
    def unused(self) -> int:
        """Bytes that were not taken so far."""
        done = self.done_to - self.start + sum(end - start for start, end in self.later.items())
        return max(0, self.length - done) + self.gaps

    def take(self, start: int, end: int) -> int:
        """Note that a range was taken; returns its bytes, 0 if it was taken before.

        Threads that decode blocks ahead take them out of order.
        """
        before = self.unused
        if start > self.done_to:
            self.later[start] = max(end, self.later.get(start, end))
            return before - self.unused
        following: int | None = start
        self.later[start] = end
        while following is not None:
            self.done_to = max(self.done_to, self.later.pop(following))
            following = next((low for low in self.later if low <= self.done_to), None)
        return before - self.unused

    def skip(self, start: int, end: int) -> None:
        """Note that nobody asked for a range: it is a gap between blocks."""
        self.gaps += self.take(start, end)


class Spans:
    """All spans, held or under way, bounded by `limit` bytes. Called under one lock.

    Spans of a pack never overlap. A span is dropped once all of it was used. When room is needed, the least
    recently used spans are dropped, except those under way.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self.used = 0  # bytes that were read ahead and then used
        self.wasted = 0  # bytes that were read ahead and dropped unused
        self._packs: dict[bytes, list[tuple[int, Span]]] = {}  # by start
        self._recent: OrderedDict[Span, None] = OrderedDict()
        self._owners: Counter[object] = Counter()  # and how many bytes each has

    def share(self, owner: object = None) -> int:
        """The bytes that one owner may have: all have the same share, so that none pushes out the others' spans.

        `owner` will be one of them.
        """
        others = len(self._owners) - (owner in self._owners)
        return self.limit // max(1, others + (owner is not None))

    def owned(self, owner: object) -> int:
        """The bytes of an owner."""
        return self._owners.get(owner, 0)

    def disown(self, owner: object) -> None:
        """Leave the spans of an owner to nobody: they go when room is needed."""
        if self._owners.pop(owner, None) is not None:
            for span in self._recent:
                if span.owner is owner:
                    span.owner = None

    def cover(self, pack: bytes, start: int, end: int) -> tuple[list[Span], list[tuple[int, int]]]:
        """The spans that overlap a range, in order, and the parts of the range that none of them has."""
        spans: list[Span] = []
        gaps: list[tuple[int, int]] = []
        rows = self._packs.get(pack, ())
        position = start
        for n in range(max(0, bisect_left(rows, start, key=_start) - 1), len(rows)):
            span = rows[n][1]
            if span.start >= end:
                break
            if span.end <= position:
                continue
            if span.start > position:
                gaps.append((position, span.start))
            spans.append(span)
            position = span.end
        if position < end:
            gaps.append((position, end))
        return spans, gaps

    def around(self, pack: bytes, gap: tuple[int, int], start: int, end: int) -> tuple[int, int]:
        """`gap`, widened towards `start` and `end` until it meets other spans."""
        low, high = gap
        for _start, span in self._packs.get(pack, ()):
            if span.end <= low:
                start = max(start, span.end)
            elif span.start >= high:
                end = min(end, span.start)
        return min(low, start), max(high, end)

    def make_room(self, length: int, owner: object = None) -> bool:
        """Drop old spans until `length` more bytes fit. False, and nothing is dropped, if they can't.

        No span of `owner` is dropped: what is read ahead for it takes no place of what it is about to read.
        """
        excess = self.bytes + length - self.limit
        if excess <= 0:
            return True
        old: list[Span] = []
        for span in self._recent:
            if span.future.done() and (owner is None or span.owner is not owner):
                old.append(span)
                excess -= span.length
                if excess <= 0:
                    break
        else:
            return False
        for span in old:
            self.drop(span)
        return True

    def add(self, span: Span) -> None:
        """Hold a span. The caller made room for it, or needs it even beyond the limit."""
        insort(self._packs.setdefault(span.pack, []), (span.start, span), key=_start)
        self._recent[span] = None
        self.bytes += span.length
        if span.owner is not None:
            self._owners[span.owner] += span.length

    def settle(self, span: Span, length: int) -> None:
        """Note that a span arrived with `length` bytes: fewer than asked for where the pack ends."""
        if span in self._recent:
            self.bytes -= span.length - length
            if span.owner is not None:
                self._owners[span.owner] -= span.length - length
        span.end = span.start + length
        for low in [low for low, high in span.later.items() if high > span.end]:
            span.gaps -= span.later.pop(low) - low  # only gaps are noted before a span arrives

    def use(self, span: Span, start: int, end: int) -> None:
        """Note that a block from `start` to `end` was taken from a span."""
        if not span.future.done():
            return  # it timed out or was given up
        if span in self._recent:
            self._use(span, start, end)
            return
        # Another thread took a block meanwhile, so that another span holds the rest.
        for rest in self.cover(span.pack, max(start, span.start), min(end, span.end))[0]:
            if rest.future.done():
                self._use(rest, start, end)

    def _use(self, span: Span, start: int, end: int) -> None:
        taken = span.take(max(start, span.start), min(end, span.end))
        if span.ahead:
            self.used += taken
        self._recent.move_to_end(span)
        if span.done_to >= span.end:
            self.drop(span)
        else:
            self._trim(span)

    def _trim(self, span: Span) -> None:
        """Let go the parts of which all was used."""
        before, parts = span.future.result().after(span.done_to - span.start)
        if not before:
            return
        # A new span: other threads may be cutting blocks from this one.
        rest = Span(span.kind, span.pack, span.start + before, span.end, span.ahead, owner=span.owner)
        rest.done_to, rest.later, rest.gaps = span.done_to, span.later, span.gaps
        rest.future.set_result(parts)
        self._remove(span)
        self.add(rest)

    def drop(self, span: Span) -> None:
        """Hold a span no more, whatever was not taken from it. Does nothing if it is not held."""
        if span not in self._recent:
            return
        self._remove(span)
        if span.ahead:
            self.wasted += span.unused

    def _remove(self, span: Span) -> None:
        del self._recent[span]
        rows = self._packs[span.pack]
        rows.pop(next(n for n, (_start, held) in enumerate(rows) if held is span))
        if not rows:
            del self._packs[span.pack]
        self.bytes -= span.length
        if span.owner is not None:
            self._owners[span.owner] -= span.length
            if not self._owners[span.owner]:
                del self._owners[span.owner]

    def clear(self) -> list[Span]:
        """Drop and return all spans."""
        spans = list(self._recent)
        for span in spans:
            self.drop(span)
        return spans


def _start(row: tuple[int, Span]) -> int:
    return row[0]
