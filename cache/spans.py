"""Ranges of packs, fetched from the store or on their way, from which blocks are cut. No I/O."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from concurrent.futures import Future

from catalog.format.blocks import PackKind

TRIM = 256 << 10  # bytes; once half of a longer span was used, only the rest is kept


class Span:
    """Bytes `start` to `end` of a pack. `ahead`: not all of them were needed when they were asked for.

    `used` bytes were taken from it so far, including all before `used_to`.
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

    def make_room(self, length: int) -> bool:
        """Drop old spans until `length` more bytes fit. False if they still don't."""
        if self.bytes + length <= self.limit:
            return True
        for span in list(self._recent):
            if span.future.done():
                self.drop(span)
                if self.bytes + length <= self.limit:
                    return True
        return False

    def add(self, span: Span) -> None:
        """Hold a span. The caller made room for it, or needs it even beyond the limit."""
        insort(self._packs.setdefault(span.pack, []), (span.start, span), key=_start)
        self._recent[span] = None
        self.bytes += span.length

    def settle(self, span: Span, length: int) -> None:
        """Note that a span arrived with `length` bytes: fewer than asked for where the pack ends."""
        if span in self._recent:
            self.bytes -= span.length - length
        span.end = span.start + length

    def use(self, span: Span, start: int, end: int) -> None:
        """Note that a block from `start` to `end` was taken from a span."""
        if not span.future.done():
            return  # it timed out or was given up
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
        # A new span: other threads may be cutting blocks from this one.
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
        """Drop and return all spans."""
        spans = list(self._recent)
        for span in spans:
            self.drop(span)
        return spans


def _start(row: tuple[int, Span]) -> int:
    return row[0]
