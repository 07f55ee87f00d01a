"""What a record of places says, in the shape in which pruning changes it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from catalog.format.places import BrokenRow, DeadRow, InsteadRow, LeavingRow, MovedRow, PlacesRecord, RunRow
from catalog.places import Run
from catalog.prune.segments import EVERYTHING, NEW, Segment, Segments, Span, tidy


class Key(NamedTuple):
    """A pack or carrier; `kind` is 1 under packs/ and 2 under meta/."""

    kind: int
    id: bytes


class State:
    """Rows of a series: what is hidden of each pack, the runs of packs that were moved, the objects that leave.

    `since` 0 is the time of the record that a run is about to write. A copy can be changed; rows are never changed
    in place.
    """

    def __init__(self) -> None:
        self.dead: dict[Key, Segments] = {}
        self.moved: dict[Key, tuple[Run, ...]] = {}
        self.leaving: dict[Key, int] = {}
        self.instead: list[InsteadRow] = []
        self.broken: list[BrokenRow] = []

    @classmethod
    def of(cls, record: PlacesRecord | None, created: int) -> State:
        """The state that a record left, which was stored at `created` (ns, by the store's clock)."""
        state = cls()
        if record is None:
            return state
        found: dict[Key, list[Segment]] = {}
        for row in record.dead:
            since = created if row.since == NEW else row.since
            spans = row.spans or [EVERYTHING]
            found.setdefault(Key(row.kind, row.pack), []).extend(Segment(*span, since) for span in spans)
        state.dead = {key: _apart(rows) for key, rows in found.items()}
        for moved in record.moved:
            state.moved[Key(moved.kind, moved.pack)] = tuple(
                Run(r.start, r.start + r.length, record.carriers[r.carrier], r.at) for r in moved.runs
            )
        for leaving in record.leaving:
            since = leaving.since or created
            key = Key(leaving.kind, leaving.object)
            state.leaving[key] = max(since, state.leaving.get(key, since))
        state.instead, state.broken = list(record.instead), list(record.broken)
        return state

    def copy(self) -> State:
        other = State()
        other.dead, other.moved, other.leaving = dict(self.dead), dict(self.moved), dict(self.leaving)
        other.instead, other.broken = list(self.instead), list(self.broken)
        return other

    def same_as(self, other: State) -> bool:
        return (self.dead, self.moved, self.leaving) == (other.dead, other.moved, other.leaving)

    def holders(self, key: Key) -> set[Key]:
        """The carriers in which a pack's blocks are; none if they are in the pack itself."""
        return {Key(key.kind, run.holder) for run in self.moved.get(key, ())}

    def carriers(self) -> set[Key]:
        """The carriers in which any blocks are."""
        return {carrier for key in self.moved for carrier in self.holders(key)}

    def record(self, series: bytes, digits: str, number: int, by: bytes, began: int) -> PlacesRecord:
        """The record with this state."""
        carriers = sorted({carrier.id for carrier in self.carriers()})
        index = {one: n for n, one in enumerate(carriers)}
        moved = [
            MovedRow(key.id, key.kind, [RunRow(index[r.holder], r.start, r.end - r.start, r.at) for r in runs])
            for key, runs in sorted(self.moved.items())
        ]
        return PlacesRecord(
            series=series, digits=digits, number=number, by=by, began=began,
            dead=[row for key, segments in sorted(self.dead.items()) for row in _rows(key, segments)],
            carriers=carriers, moved=moved,
            leaving=[LeavingRow(key.id, key.kind, since) for key, since in sorted(self.leaving.items())],
            instead=self.instead, broken=self.broken,
        )  # fmt: skip


def _rows(key: Key, segments: Segments) -> Iterable[DeadRow]:
    """A row for each time since which bytes of a pack are dead."""
    times = dict.fromkeys(s.since for s in segments)
    for since in times:
        spans: list[Span] = [(s.start, s.end) for s in segments if s.since == since]
        yield DeadRow(key.id, key.kind, since, [] if spans == [EVERYTHING] else spans)


def _apart(rows: list[Segment]) -> Segments:
    """Segments without overlap. Where rows disagree, the shorter time counts: alive again, then the latest."""
    rows = sorted(rows, key=lambda row: row.start)
    if all(a.end <= b.start for a, b in pairwise(rows)):
        return tidy(rows)
    edges = sorted({edge for row in rows for edge in (row.start, row.end)})
    found = []
    for start, end in pairwise(edges):
        over = [row.since for row in rows if row.start <= start and end <= row.end]
        if over:
            since = None if None in over else max(s for s in over if s is not None)
            found.append(Segment(start, end, since))
    return tidy(found)
