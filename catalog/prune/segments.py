"""Bytes of a pack that are hidden, with the time since which they are dead. Pure functions.

Segments are sorted, and don't overlap. EVERYTHING stands for all of a pack, of which the end need not be known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from catalog.format.message import MAX_OFFSET

Span: TypeAlias = tuple[int, int]  # bytes of a pack, [from, to)
EVERYTHING: Span = (0, MAX_OFFSET)
NEW = 0  # `since` of what the next record adds: the time when it is created


class Segment(NamedTuple):
    """Bytes [start, end) of a pack that are hidden.

    `since` is in ns by the store's clock, or NEW; None: they are alive again.
    """

    start: int
    end: int
    since: int | None


Segments: TypeAlias = tuple[Segment, ...]


def joined(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, with those that touch or overlap as one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        elif start < end:
            found.append((start, end))
    return found


def without(spans: Iterable[Span], others: Sequence[Span]) -> list[Span]:
    """The parts of `spans` that no span of `others` covers."""
    found: list[Span] = []
    others, first = joined(others), 0
    for start, end in joined(spans):
        while first < len(others) and others[first][1] <= start:
            first += 1
        n, at = first, start
        while n < len(others) and others[n][0] < end:
            low, high = others[n]
            if at < low:
                found.append((at, low))
            at, n = max(at, high), n + 1
        if at < end:
            found.append((at, end))
    return found


def within(spans: Iterable[Span], others: Sequence[Span]) -> list[Span]:
    """The parts of `spans` that `others` cover, too."""
    return without(spans, without([EVERYTHING], others))


def length(spans: Iterable[Span]) -> int:
    """Bytes of spans that don't overlap."""
    return sum(end - start for start, end in spans)


def spans_of(segments: Iterable[Segment]) -> list[Span]:
    """All that the segments cover."""
    return joined((s.start, s.end) for s in segments)


def tidy(segments: Iterable[Segment]) -> Segments:
    """Segments in order, with neighbours of one time as one."""
    found: list[Segment] = []
    for segment in sorted(segments, key=lambda s: s.start):
        last = found[-1] if found else None
        if last is not None and last.end == segment.start and last.since == segment.since:
            found[-1] = last._replace(end=segment.end)
        elif segment.start < segment.end:
            found.append(segment)
    return tuple(found)


def clipped(segments: Iterable[Segment], spans: Sequence[Span]) -> Segments:
    """The parts of the segments that lie in `spans`."""
    return tidy(Segment(*part, s.since) for s in segments for part in within([(s.start, s.end)], spans))


def put(segments: Iterable[Segment], spans: Iterable[Span], since: int | None) -> Segments:
    """The segments, with the bytes of `spans` dead since `since`, whatever they said of these."""
    new = joined(spans)
    left = [Segment(*part, s.since) for s in segments for part in without([(s.start, s.end)], new)]
    return tidy([*left, *(Segment(*span, since) for span in new)])


def marked(segments: Segments, live: Sequence[Span], where: Sequence[Span], *, old: bool) -> Segments:
    """The segments after a mark that looked at the bytes `where`, and found `live` alive.

    Alive, they stay hidden, and their time stops. Dead, they are hidden if their object is `old`; what was alive
    has its whole time again.
    """
    found: list[Segment] = []
    for s in segments:
        span = [(s.start, s.end)]
        looked = within(span, where)
        found += [Segment(*part, s.since) for part in without(span, where)]
        found += [Segment(*part, None) for part in within(looked, live)]
        dead = NEW if s.since is None else s.since
        found += [Segment(*part, dead) for part in without(looked, live)]
    if old:
        found += [Segment(*part, NEW) for part in without(without(where, live), spans_of(segments))]
    return tidy(found)


def ripe(segments: Iterable[Segment], live: Sequence[Span], before: int) -> list[Span]:
    """What is dead now, and has been since `before` (ns) or longer."""
    return without(
        ((s.start, s.end) for s in segments if s.since is not None and s.since != NEW and s.since <= before), live
    )
