"""Ranges of packs, as they came from the store or are on their way: blocks are cut out of them later."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from concurrent.futures import Future

from catalog.format.blocks import PackKind

TRIM = 256 << 10  # bytes; a longer span whose first half was used is cut down to the rest


class Span:
    """Bytes `start` to `end` of a pack. `ahead`: nobody had asked for all of it yet.

    `used` bytes of it were taken, all of those before `used_to` among them.
    """

    __slots__ = ("ahead", "end", "future", "kind", "pack", "start", "used", "used_to")

    def __init__(self, kind: PackKind, pack: bytes, start: int, end: int, ahead: bool) -> None:
        self.kind = kind
        self.pack = pack
        self.start = start
        self.end = end
        self.ahead = ahead
        self.used = 0
        self.used_to = start
        self.future: Future[bytes] = Future()

    @property
    def length(self) -> int:
        return self.end - self.start


class Spans:
    """All spans held, bounded by `limit` bytes, those under way included. Called under one lock.

    Spans of a pack never overlap. One is dropped when all of it was used, or as the least recently used when
    room is needed; one under way is not dropped for room.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self.used = 0  # bytes that were read ahead and then used
        self.wasted = 0  # bytes that were read ahead and dropped unused
        self._packs: dict[bytes, list[tuple[int, Span]]] = {}  # by start
        self._recent: OrderedDict[Span, None] = OrderedDict()

    def cover(self, pack: bytes, start: int, end: int) -> tuple[list[Span], list[tuple[int, int]]]:
        """The spans that have a part of a range, in order, and the gaps between them."""
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
        """`gap`, widened to `start` and `end` as far as no span is in the way."""
        low, high = gap
        for _start, span in self._packs.get(pack, ()):
            if span.end <= low:
                start = max(start, span.end)
            elif span.start >= high:
                end = min(end, span.start)
        return min(low, start), max(high, end)

    def make_room(self, length: int) -> bool:
        """Drop old spans until `length` more bytes fit. False if they can't."""
        if self.bytes + length <= self.limit:
            return True
        for span in list(self._recent):
            if span.future.done():
                self.drop(span)
                if self.bytes + length <= self.limit:
                    return True
        return False

    def add(self, span: Span) -> None:
        """Hold a span; the caller made room, or can't do without."""
        insort(self._packs.setdefault(span.pack, []), (span.start, span), key=_start)
        self._recent[span] = None
        self.bytes += span.length

    def settle(self, span: Span, length: int) -> None:
        """A span arrived and has `length` bytes; fewer than asked for where the pack ends."""
        if span in self._recent:
            self.bytes -= span.length - length
        span.end = span.start + length

    def use(self, span: Span, start: int, end: int) -> None:
        """A block that lies in `start` to `end` was taken from a span."""
        if not span.future.done():
            return  # given up
        n = max(0, min(end, span.end) - max(start, span.start))
        span.used += n
        if span.ahead:
            self.used += n
        if start <= span.used_to:
            span.used_to = max(span.used_to, min(end, span.end))
        if span not in self._recent:
            return
        self._recent.move_to_end(span)
        if span.used_to >= span.end:
            span.used = span.length
            self.drop(span)
        elif span.length > TRIM and span.used_to - span.start > span.length // 2:
            self._trim(span)

    def _trim(self, span: Span) -> None:
        # A new span, because others may be cutting a block out of this one.
        rest = Span(span.kind, span.pack, span.used_to, span.end, span.ahead)
        rest.used = max(0, span.used - (span.used_to - span.start))
        rest.future.set_result(span.future.result()[span.used_to - span.start :])
        span.used = span.length
        self.drop(span)
        self.add(rest)

    def drop(self, span: Span) -> None:
        if span not in self._recent:
            return
        del self._recent[span]
        rows = self._packs[span.pack]
        rows.pop(next(n for n, (_start, held) in enumerate(rows) if held is span))
        if not rows:
            del self._packs[span.pack]
        self.bytes -= span.length
        if span.ahead:
            self.wasted += max(0, span.length - span.used)

    def clear(self) -> list[Span]:
        """Drop everything; returns what was held."""
        spans = list(self._recent)
        for span in spans:
            self.drop(span)
        return spans


def _start(row: tuple[int, Span]) -> int:
    return row[0]
