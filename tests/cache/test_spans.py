"""Ranges that were fetched: what is held of them, in whatever order threads take their blocks."""

from __future__ import annotations

import itertools

import pytest

from cache.spans import PART, Parts, Span, Spans
from catalog.format.blocks import PackKind

BLOCK = 64 << 10
BLOCKS = 4
PACK = b"one"


def held(spans: Spans, start: int, end: int, *, owner: object = None) -> Span:
    """A span that has arrived."""
    span = Span(PackKind.DATA, PACK, start, end, True, owner=owner)
    spans.add(span)
    span.future.set_result(Parts([bytes(BLOCK)] * ((end - start) // BLOCK)))
    spans.settle(span, end - start)
    return span


def take(spans: Spans, n: int) -> None:
    """Take the n-th block, as a thread does that has just cut it out."""
    start, end = n * BLOCK, (n + 1) * BLOCK
    for span in spans.cover(PACK, start, end)[0]:
        spans.use(span, start, end)


@pytest.mark.parametrize("order", list(itertools.permutations(range(BLOCKS))))
def test_a_span_is_dropped_once_all_of_it_was_taken(order: tuple[int, ...]) -> None:
    """Decoding threads take blocks out of order: a span that was kept for that made unread ones go."""
    spans = Spans(100 * BLOCK)
    held(spans, 0, BLOCKS * BLOCK)
    for n in order:
        assert spans.bytes > 0
        take(spans, n)
        take(spans, n)  # again, e.g. by the reader that waited for it: not counted twice
    assert (spans.bytes, spans.used, spans.wasted) == (0, BLOCKS * BLOCK, 0)
    assert spans.cover(PACK, 0, BLOCK) == ([], [(0, BLOCK)])


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3), (4, 0, 1, 2, 3)])
def test_what_was_taken_of_a_span_is_let_go(order: tuple[int, ...]) -> None:
    spans = Spans(100 * BLOCK)
    held(spans, 0, 2 * BLOCKS * BLOCK)
    for n in order:
        take(spans, n)
    assert spans.bytes == (BLOCKS - 1) * BLOCK
    (rest,), gaps = spans.cover(PACK, (BLOCKS + 1) * BLOCK, 2 * BLOCKS * BLOCK)
    assert not gaps and len(rest.future.result()) == rest.length == spans.bytes == rest.unused
    spans.drop(rest)
    assert (spans.bytes, spans.used, spans.wasted) == (0, (BLOCKS + 1) * BLOCK, (BLOCKS - 1) * BLOCK)


def test_only_whole_parts_are_let_go() -> None:
    spans = Spans(100 * BLOCK)
    span = Span(PackKind.DATA, PACK, 0, 4 * BLOCK, True)
    spans.add(span)
    span.future.set_result(Parts([bytes(3 * BLOCK), bytes(BLOCK)]))
    spans.settle(span, 4 * BLOCK)
    take(spans, 0)
    take(spans, 1)
    assert (spans.bytes, spans.used) == (4 * BLOCK, 2 * BLOCK)
    take(spans, 2)
    assert (spans.bytes, spans.used) == (BLOCK, 3 * BLOCK)


def test_a_thread_that_began_before_another_took_a_block() -> None:
    """It has the span that was; what it takes is noted in the one that holds the rest."""
    spans = Spans(100 * BLOCK)
    span = held(spans, 0, 3 * BLOCK)
    take(spans, 0)
    assert (spans.bytes, spans.used) == (2 * BLOCK, BLOCK)
    spans.use(span, BLOCK, 2 * BLOCK)
    assert (spans.bytes, spans.used) == (BLOCK, 2 * BLOCK)
    spans.use(span, 2 * BLOCK, 3 * BLOCK)
    assert (spans.bytes, spans.used, spans.wasted) == (0, 3 * BLOCK, 0)


def test_parts_of_a_range() -> None:
    first, second, third = b"abcd", b"ef", b"ghi"
    parts = Parts([first, second, third])
    assert len(parts) == 9 and len(Parts([])) == 0
    assert parts.cut(0, 4) is first and parts.cut(4, 6) is second
    assert bytes(parts.cut(1, 3)) == b"bc" and bytes(parts.cut(3, 8)) == b"defgh"
    assert bytes(parts.cut(7, 20)) == b"hi" and bytes(parts.cut(9, 20)) == b""
    for at, begins, rest in ((0, 0, 9), (3, 0, 9), (4, 4, 5), (5, 4, 5), (6, 6, 3), (9, 9, 0)):
        start, left = parts.after(at)
        assert (start, len(left)) == (begins, rest), at


def test_a_range_is_fetched_in_its_blocks() -> None:
    span = Span(PackKind.DATA, PACK, 10, 100, True, cuts=[0, 10, 40, 40, 100, 130])
    assert span.lengths() == [30, 60]
    long = Span(PackKind.DATA, PACK, 10, 10 + 2 * PART + 5, True)
    assert long.lengths() == [PART, PART, 5]


def test_gaps_that_nobody_asked_for_do_not_keep_a_span() -> None:
    spans = Spans(100 * BLOCK)
    held(spans, 0, 3 * BLOCK).skip(BLOCK, 2 * BLOCK)
    take(spans, 2)
    take(spans, 0)
    assert (spans.bytes, spans.used, spans.wasted) == (0, 2 * BLOCK, BLOCK)


def test_nothing_is_dropped_for_what_does_not_fit_anyway() -> None:
    spans = Spans(10 * BLOCK)
    held(spans, 0, 2 * BLOCK)
    held(spans, 2 * BLOCK, 4 * BLOCK)
    under_way = Span(PackKind.DATA, PACK, 4 * BLOCK, 8 * BLOCK, True)
    spans.add(under_way)
    assert not spans.make_room(7 * BLOCK)
    assert (spans.bytes, spans.wasted) == (8 * BLOCK, 0)
    assert spans.make_room(4 * BLOCK)
    assert (spans.bytes, spans.wasted) == (6 * BLOCK, 2 * BLOCK)
    assert spans.cover(PACK, 0, 2 * BLOCK)[0] == []  # the one that was not used for longest


def test_reading_ahead_drops_nothing_that_the_same_reader_is_about_to_read() -> None:
    spans, reader, other = Spans(10 * BLOCK), object(), object()
    for n, owner in enumerate((reader, reader, other, None)):
        held(spans, 2 * n * BLOCK, 2 * (n + 1) * BLOCK, owner=owner)
    assert (spans.owned(reader), spans.owned(other), spans.owned(spans)) == (4 * BLOCK, 2 * BLOCK, 0)
    assert (spans.share(reader), spans.share(), spans.share(spans)) == (
        5 * BLOCK,
        5 * BLOCK,
        3 * BLOCK + BLOCK // 3,
    )
    assert not spans.make_room(7 * BLOCK, reader)
    assert spans.make_room(6 * BLOCK, reader)
    assert (spans.bytes, spans.owned(reader), spans.owned(other)) == (4 * BLOCK, 4 * BLOCK, 0)
    take(spans, 0)
    assert spans.owned(reader) == 3 * BLOCK
    spans.disown(reader)
    assert (spans.bytes, spans.owned(reader)) == (3 * BLOCK, 0)
    assert spans.make_room(10 * BLOCK, reader)
    assert (spans.bytes, spans.used, spans.wasted) == (0, BLOCK, 7 * BLOCK)


def test_a_block_taken_from_a_span_that_ended_early() -> None:
    """The pack ends before the range that was asked for, in the middle of a block."""
    spans = Spans(100 * BLOCK)
    span = Span(PackKind.DATA, PACK, 0, 4 * BLOCK, True)
    span.skip(3 * BLOCK, 4 * BLOCK)
    spans.add(span)
    span.future.set_result(Parts([bytes(BLOCK), bytes(5)]))
    spans.settle(span, BLOCK + 5)
    take(spans, 1)
    take(spans, 0)
    assert (spans.bytes, spans.used) == (0, BLOCK + 5)
