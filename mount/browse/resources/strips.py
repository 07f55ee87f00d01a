"""The last thirty days of an item, a cell for each: pure, from its runs, its points and its plan."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from catalog.plans.effective import Plan
from catalog.schedule.due import BACKUP, grace, slots_of
from catalog.schedule.history import RUNNING, Ran

DAYS = 30
DayState: TypeAlias = Literal["good", "problems", "failed", "missed", "none"]
_GOOD, _WARNED = "completed", "completed with warnings"
_BAD = ("failed", "killed", "interrupted")


class StripDay(NamedTuple):
    """One day of this machine's calendar (`date`, ISO 8601): what came of it, in a word and for people."""

    date: str
    state: DayState
    points: int
    words: str


class Strip(msgspec.Struct, frozen=True, kw_only=True):
    """Thirty days from `first` (ISO 8601) on, in few bytes: a home screen has a strip for each item.

    `states` has a letter for each: g good, p problems, f failed, m missed, `.` none. `points` counts those of each.
    `words` says by the number of a day what a letter and a count don't.
    """

    first: str
    states: str
    points: list[int]
    words: dict[int, str]


_LETTERS: dict[DayState, str] = {"good": "g", "problems": "p", "failed": "f", "missed": "m", "none": "."}


def packed(days: Sequence[StripDay]) -> Strip:
    """The cells of an item, for the page."""
    return Strip(
        first=days[0].date, states="".join(_LETTERS[day.state] for day in days),
        points=[day.points for day in days],
        words={n: day.words for n, day in enumerate(days) if day.state in ("problems", "failed")},
    )  # fmt: skip


class Calendar:
    """The last thirty days up to a time (ns), today included, by this machine's clock and time zone."""

    def __init__(self, now: int) -> None:
        today = datetime.fromtimestamp(now // 10**9).date()
        days = [today - timedelta(days=DAYS - 1 - n) for n in range(DAYS + 1)]
        self.dates = [day.isoformat() for day in days[:DAYS]]
        # A local midnight that does not exist, or is there twice, is the first instant that has that date.
        self.starts = [int(datetime(d.year, d.month, d.day).timestamp()) * 10**9 for d in days]

    def day_of(self, ns: int) -> int | None:
        """The number of the day in which an instant falls, 0 for the first; None outside."""
        n = bisect_right(self.starts, ns) - 1
        return n if 0 <= n < DAYS else None

    def counts(self, times: Iterable[int]) -> tuple[int, ...]:
        """How many of some instants (ns) fall into each day."""
        found = [0] * DAYS
        for ns in times:
            n = self.day_of(ns)
            if n is not None:
                found[n] += 1
        return tuple(found)


def strip(
    calendar: Calendar, points: Sequence[int], runs: Iterable[Ran], plan: Plan | None, since: int, now: int
) -> list[StripDay]:
    """The cells of an item. `points` has how many of its recovery points each day has, `runs` are its backups.

    `plan` counts from `since` (ns) on; None if nothing is planned.
    """
    good, warned, bad = ([0] * len(calendar.dates) for _ in range(3))
    done = list[int]()
    for ran in runs:
        n = calendar.day_of(ran.started)
        if n is None or ran.kind != BACKUP.kind or ran.outcome == RUNNING:
            continue
        if ran.outcome == _GOOD:
            good[n] += 1
        elif ran.outcome == _WARNED:
            warned[n] += 1
        elif ran.outcome in _BAD:
            bad[n] += 1
        if ran.outcome in (_GOOD, _WARNED):
            done.append(ran.started)
    missed = _missed(calendar, points, sorted(done), plan, since, now)
    return [_day(date, points[n], good[n], warned[n], bad[n], n in missed) for n, date in enumerate(calendar.dates)]


def _day(date: str, points: int, good: int, warned: int, bad: int, missed: bool) -> StripDay:
    state: DayState
    if (bad or warned) and (points or good or warned):
        state = "problems"
    elif bad:
        state = "failed"
    elif points or good:
        state = "good"
    else:
        state = "missed" if missed else "none"
    said = []
    if points:
        said.append(f"{points} recovery point{'s' if points > 1 else ''}")
    if warned:
        said.append(f"{warned} with warnings")
    if bad:
        said.append(f"{bad} failed")
    if not said:
        said.append("a planned backup did not come" if missed else "a backup ran" if good else "no backup")
    return StripDay(date=date, state=state, points=points, words=", ".join(said))


def _missed(
    calendar: Calendar, points: Sequence[int], done: Sequence[int], plan: Plan | None, since: int, now: int
) -> set[int]:
    """The days that had a planned time of which nothing came, in time or later on that day."""
    slots = None if plan is None else slots_of(plan, BACKUP)
    if plan is None or slots is None or plan.stopped is not None:
        return set()
    late, found, pause = grace(plan), set[int](), plan.paused_at(now)
    for n, (start, end) in enumerate(zip(calendar.starts, calendar.starts[1:], strict=False)):
        slot = slots.next(start - 1)
        if slot is None or not max(start, since) <= slot < end or slot + late >= now:
            continue
        if pause is not None and slot >= pause.since:
            continue
        place = bisect_right(done, slot - 1)
        came = points[n] or (place < len(done) and done[place] < slot + late)
        # A point just after midnight has no record of its job where that was lost: it is of the day before, too.
        if not came and not (n + 1 < len(points) and points[n + 1] and slot + late > end):
            found.add(n)
    return found
