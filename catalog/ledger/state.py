"""What the newest ledger of an item says, and how it changes: pure, without a store. docs/format.md, "Ledger"."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from catalog.format.ledger import (
    MOST_WAYS,
    ForgottenRow,
    GoneRow,
    HeldRow,
    How,
    LedgerRecord,
    PastRow,
    Unknown,
)
from catalog.format.records import PointName
from catalog.promoted import Jumps

SETTLED = 7 * 86_400 * 10**9  # ns for which the row of a gone point stays: then no writer is busy with its number
_NONE: Mapping[Any, Any] = MappingProxyType({})


class Ledger(NamedTuple):
    """The newest ledger of an item; `number` 0: it has none. All times are the store's (ns since the epoch, UTC).

    `forgotten`, `held` and `gone` are rows by the ids of points; `past` ascends.
    """

    machine: bytes
    item: bytes
    number: int = 0
    forgotten: Mapping[bytes, ForgottenRow] = _NONE
    held: Mapping[bytes, HeldRow] = _NONE
    gone: Mapping[bytes, GoneRow] = _NONE
    past: tuple[PastRow, ...] = ()
    unknown: Unknown = _NONE

    @classmethod
    def of(cls, record: LedgerRecord, unknown: Unknown) -> Ledger:
        return cls(
            record.machine,
            record.item,
            record.number,
            {row.point: row for row in record.forgotten},
            {row.point: row for row in record.held},
            {row.point: row for row in record.gone},
            tuple(record.past),
            unknown,
        )

    def record(self, number: int, written: int, by: str) -> LedgerRecord:
        """The record to store under a number."""
        return LedgerRecord(
            machine=self.machine,
            item=self.item,
            number=number,
            written=written,
            by=by,
            forgotten=[*self.forgotten.values()],
            held=[*self.held.values()],
            gone=[*self.gone.values()],
            past=[*self.past],
        )

    # --- what it says -------------------------------------------------------------------------------------

    def is_gone(self, name: PointName) -> bool:
        """Whether a point is none any more, though the store may still have its object, or have it again."""
        if name.id in self.gone:
            return True
        row = None if name.partial else self.past_of(name.sequence)
        return row is not None and not missing_in(row)

    def is_hidden(self, name: PointName) -> bool:
        """Whether a point is not shown: it was forgotten, or is gone."""
        return name.id in self.forgotten or self.is_gone(name)

    def is_held(self, point: bytes, now: int) -> bool:
        """Whether a point must not go at a time."""
        row = self.held.get(point)
        return row is not None and (row.until is None or row.until > now)

    def is_due(self, point: bytes, now: int) -> bool:
        """Whether a point was forgotten, may go at a time, and is not held."""
        row = self.forgotten.get(point)
        return row is not None and row.until <= now and not self.is_held(point, now)

    def past_of(self, sequence: int) -> PastRow | None:
        """The row of `past` that has a sequence number."""
        at = bisect_right(self.past, sequence, key=lambda row: row.first) - 1
        return self.past[at] if at >= 0 and self.past[at].last >= sequence else None

    @property
    def numbers(self) -> list[int]:
        """The sequence numbers that it names; of a range, the last one. In no order, and some twice."""
        numbers = [row.sequence for row in self.forgotten.values()]
        numbers += [row.sequence for row in self.held.values()]
        numbers += [row.sequence for row in self.gone.values()]
        return numbers + [row.last for row in self.past]

    @property
    def highest(self) -> int:
        """The highest sequence number that it names; 0 if it names none."""
        return max(self.numbers, default=0)

    @property
    def given_up(self) -> int:
        """When the last point was given up that no run of pruning had as a root (ns); 0: never."""
        times = [row.since for row in self.gone.values() if row.how == How.DAMAGED]
        return max([*times, *(row.since for row in self.past if missing_in(row))], default=0)

    def gaps(
        self, present: Iterable[int], highest: int, lowest: int = 1, skipped: tuple[int, int] | None = None
    ) -> list[tuple[int, int]]:
        """Numbers from `lowest` to `highest` that no point has, and the ledger does not explain: first and last.

        Those that the item has `skipped` (first and last) when a copy was promoted are explained, too.
        """
        spans = [(n, n) for n in present]
        spans += [] if skipped is None else [skipped]
        spans += [(row.sequence, row.sequence) for row in self.forgotten.values()]
        spans += [(row.sequence, row.sequence) for row in self.gone.values()]
        spans += [(row.first, row.last) for row in self.past]
        found, expected = [], lowest
        for first, last in [*sorted(spans), (highest + 1, highest + 1)]:
            if expected < first and expected <= highest:
                found.append((expected, min(first - 1, highest)))
            expected = max(expected, last + 1)
        return found

    # --- changes ------------------------------------------------------------------------------------------

    def forget(self, rows: Iterable[ForgottenRow]) -> Ledger:
        """Without these points. Of two times until which a point can be had back, the earlier one counts."""
        new = dict(self.forgotten)
        for row in rows:
            before = new.get(row.point)
            if row.point not in self.gone and (before is None or row.until < before.until):
                new[row.point] = row
        return self if new == self.forgotten else self._replace(forgotten=new)

    def undelete(self, points: Collection[bytes]) -> Ledger:
        """With these points again, which were forgotten."""
        new = {point: row for point, row in self.forgotten.items() if point not in points}
        return self if len(new) == len(self.forgotten) else self._replace(forgotten=new)

    def hold(self, rows: Iterable[HeldRow]) -> Ledger:
        """With these points held, in place of what held them before."""
        new = {**self.held, **{row.point: row for row in rows if row.point not in self.gone}}
        return self if new == self.held else self._replace(held=new)

    def release(self, points: Collection[bytes]) -> Ledger:
        new = {point: row for point, row in self.held.items() if point not in points}
        return self if len(new) == len(self.held) else self._replace(held=new)

    def take(self, points: Iterable[bytes], now: int) -> Ledger:
        """With those of these points called gone that are due at `now`. Final."""
        due = [self.forgotten[point] for point in points if self.is_due(point, now)]
        if not due:
            return self
        ids = {row.point for row in due}
        return self._replace(
            forgotten={point: row for point, row in self.forgotten.items() if point not in ids},
            held={point: row for point, row in self.held.items() if point not in ids},
            gone={**self.gone, **{r.point: GoneRow(r.point, r.sequence, now, r.how, r.reason) for r in due}},
        )

    def give_up(self, rows: Iterable[GoneRow]) -> Ledger:
        """With these points called gone at once, which no run of pruning could read. Final."""
        new = {row.point: row for row in rows if row.point not in self.gone}
        return self._replace(
            forgotten={point: row for point, row in self.forgotten.items() if point not in new},
            held={point: row for point, row in self.held.items() if point not in new},
            gone={**self.gone, **new},
        )

    def fold(self, listed: Iterable[PointName], now: int) -> Ledger:
        """With the numbers of points in `past` that are gone since a week, and whose objects are away.

        `listed` are all names of the item, partial ones included, as they were at `now`. A number stays while the
        store has another point with it, since all points with a number in `past` are gone.
        """
        there = {name.sequence for name in listed}
        away = [row for row in self.gone.values() if row.since + SETTLED <= now and row.sequence not in there]
        if not away:
            return self
        ids = {row.point for row in away}
        rows = [PastRow(r.sequence, r.sequence, r.since, _one(r.how)) for r in away]
        return self._replace(
            gone={point: row for point, row in self.gone.items() if point not in ids},
            past=joined([*self.past, *rows]),
        )

    def accept(self, gaps: Iterable[tuple[int, int]], now: int) -> Ledger:
        """With numbers in `past` whose points are missing: they come back if the points do."""
        rows = [PastRow(a, b, now, _one(How.MISSING, b - a + 1)) for a, b in gaps]
        return self._replace(past=joined([*self.past, *rows])) if rows else self


def find_gaps(
    names: Iterable[PointName],
    opened: Iterable[PointName],
    ledgers: Mapping[tuple[bytes, bytes], Ledger],
    seen: Mapping[tuple[bytes, bytes], int],
    jumps: Jumps,
) -> Iterator[tuple[tuple[bytes, bytes], int, int]]:
    """The numbers, first and last, that no point of an item has and no ledger explains, by machine and item.

    `names` are all that are listed, `opened` those of points that can be read: the name of another proves no
    number. `ledgers` are those of the items to look at, and `seen` the highest numbers that this machine has met.
    `jumps` are those of the vault whose points were listed.
    """
    present: dict[tuple[bytes, bytes], set[int]] = {}
    for name in names:
        if not name.partial:
            present.setdefault((name.machine, name.item), set()).add(name.sequence)
    proven: dict[tuple[bytes, bytes], int] = {}
    for name in opened:
        if not name.partial:
            key = name.machine, name.item
            proven[key] = max(proven.get(key, 0), name.sequence)
    for key, ledger in sorted(ledgers.items()):
        highest = max(proven.get(key, 0), seen.get(key, 0), ledger.highest)
        there = present.get(key, set())
        for first, last in ledger.gaps(there, highest, skipped=jumps.skipped(key, there)):
            yield key, first, last


def numbers_text(first: int, last: int) -> str:
    """The points with these numbers, in words."""
    return f"recovery point {first}" if first == last else f"recovery points {first} to {last}"


def missing_in(row: PastRow) -> int:
    """How many points of a row of `past` were missing, and not taken away."""
    return row.removed[How.MISSING - 1] if len(row.removed) >= How.MISSING else 0


def joined(rows: Iterable[PastRow]) -> tuple[PastRow, ...]:
    """Rows of `past` in order, those that touch as one.

    Those of missing points stay apart from others: they say less of a number, and give way where both have it.
    """
    rows = list(rows)
    taken = _merged(row for row in rows if not missing_in(row))
    missing = _merged(row for row in rows if missing_in(row))
    return tuple(sorted([*taken, *_without(missing, taken)], key=lambda row: row.first))


def _merged(rows: Iterable[PastRow]) -> list[PastRow]:
    found: list[PastRow] = []
    for row in sorted(rows, key=lambda row: (row.first, row.last)):
        before = found[-1] if found else None
        if before is None or row.first > before.last + 1:
            found.append(row)
        else:
            since = max(before.since, row.since)
            found[-1] = PastRow(before.first, max(before.last, row.last), since, _sum(before.removed, row.removed))
    return found


def _without(rows: list[PastRow], taken: list[PastRow]) -> list[PastRow]:
    """Rows of missing points without the numbers that other rows have."""
    found, others = list[PastRow](), iter(taken)
    other = next(others, None)
    for row in rows:
        first = row.first
        while first <= row.last:
            while other is not None and other.last < first:
                other = next(others, None)
            last = row.last if other is None else min(row.last, other.first - 1)
            if first <= last:
                found.append(PastRow(first, last, row.since, _one(How.MISSING, last - first + 1)))
            first = last + 1 if other is None or other.first > row.last else other.last + 1
    return found


def _one(how: int, count: int = 1) -> list[int]:
    return [0] * (how - 1) + [count]


def _sum(a: list[int], b: list[int]) -> list[int]:
    width = min(max(len(a), len(b)), MOST_WAYS)
    return [sum(one[n] for one in (a, b) if n < len(one)) for n in range(width)]
