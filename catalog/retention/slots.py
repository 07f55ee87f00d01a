"""The slots of a rule: the instants, in the time zone of a policy, from which a point is looked for.

A local time that does not exist (the clock was put forward, or a day was left out) means the first instant after
it; one that exists twice means the first of the two. Instants are ns since the epoch (UTC). Walls are local times
without a zone, as the rule names them, whether they exist or not.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import NamedTuple

from catalog.format.retention import LAST_WEEK, RetentionRule

SECOND = 10**9  # ns
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
EARLY = 300 * SECOND  # a point that began so shortly before a time of its rule belongs to that time's slot
_EPOCH = datetime(1970, 1, 1)
_ONE = timedelta(seconds=1)


class Unit(StrEnum):
    """The rules, and the units of their `keep`."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"

    @property
    def name_of_one(self) -> str:
        return {"daily": "day", "weekly": "week", "monthly": "month", "yearly": "year"}[self]

    @property
    def longest(self) -> int:
        """The longest time from one slot to the next (ns), if the rule has one a unit."""
        return {"daily": 1, "weekly": 7, "monthly": 31, "yearly": 366}[self] * DAY


class Slot(NamedTuple):
    """The time from `start` (ns) to the next slot of the rule; `wall` is its local time."""

    start: int
    wall: datetime


def instant(wall: datetime, zone: tzinfo) -> int:
    """The instant (ns) of a local time: the first of two, or the first after a time that does not exist."""
    first = wall.replace(tzinfo=zone, fold=0)
    before, after = _seconds(first), _seconds(first.replace(fold=1))
    local = (wall - _EPOCH) // _ONE
    early, late = local - after, local - before
    if late <= early:  # the time exists; if twice, with the earlier offset first
        return late * SECOND
    while late - early > 1:  # the clock goes forward after `early`, at or before `late`
        middle = (early + late) // 2
        early, late = (middle, late) if _offset(middle, zone) == before else (early, middle)
    return late * SECOND


def _seconds(time: datetime) -> int:
    offset = time.utcoffset()
    assert offset is not None
    return offset // _ONE


def _offset(seconds: int, zone: tzinfo) -> int:
    return _seconds(datetime.fromtimestamp(seconds, zone))


def wall_of(time: int, zone: tzinfo) -> datetime:
    """The local time of an instant (ns), without its fraction of a second."""
    return datetime.fromtimestamp(time // SECOND, zone).replace(tzinfo=None)


def hour_start(time: int, zone: tzinfo) -> int:
    """The last instant at or before `time` when the clock showed a full hour."""
    seconds, found = time // SECOND, set[int]()
    for near in (seconds, seconds - 1_800, seconds - 3_600):  # an hour of the clock has at most two offsets here
        offset = _offset(near, zone)
        full = (seconds + offset) // 3_600 * 3_600 - offset
        found |= {start for start in (full, full - 3_600) if _offset(start, zone) == offset}
    return max(found) * SECOND if found else time // HOUR * HOUR


def end_of(wall: datetime, unit: Unit, count: int, zone: tzinfo) -> int:
    """The instant until which a point of the slot at `wall` is kept: `count` units and a day later.

    The day more is for the next point to come before this one goes. A day that the month does not have is its last.
    """
    if unit in (Unit.DAILY, Unit.WEEKLY):
        day = wall.date() + timedelta(days=count * (7 if unit is Unit.WEEKLY else 1))
    else:
        months = wall.year * 12 + wall.month - 1 + count * (12 if unit is Unit.YEARLY else 1)
        year, month = divmod(months, 12)
        day = date(year, month + 1, min(wall.day, calendar.monthrange(year, month + 1)[1]))
    return instant(datetime.combine(day + timedelta(days=1), wall.time()), zone)


class Slots:
    """The slots of a rule."""

    def __init__(self, unit: Unit, rule: RetentionRule, zone: tzinfo) -> None:
        self._unit, self._rule, self._zone = unit, rule, zone
        self._times = [timedelta(minutes=m) for m in rule.times or [0]]
        self._months: dict[int, list[Slot]] = {}
        self.early = EARLY if rule.times else 0  # ns before a slot that count as in it

    def since(self, time: int) -> Iterator[Slot]:
        """The slots from the last one at or before `time` (ns) on, without end. No two have the same start."""
        around = wall_of(time, self._zone) + timedelta(days=2)
        month = around.year * 12 + around.month - 1
        while not (slots := self._slots(month)) or slots[0].start > time:
            month -= 1
        pending: Slot | None = None
        while True:
            for slot in self._slots(month):
                # Of several slots with one start, where days are left out of the calendar, the last counts.
                if pending is not None and pending.start < slot.start and slot.start > time:
                    yield pending
                pending = slot
            month += 1

    def _slots(self, month: int) -> list[Slot]:
        found = self._months.get(month)
        if found is None:
            year, number = divmod(month, 12)
            walls = [
                datetime(year, number + 1, day) + time
                for day in sorted(self._days(year, number + 1))
                for time in self._times
            ]
            found = self._months[month] = [Slot(instant(wall, self._zone), wall) for wall in walls]
        return found

    def _days(self, year: int, month: int) -> set[int]:
        """The days of a month that have slots."""
        rule, (first, length) = self._rule, calendar.monthrange(year, month)
        every = range(1, length + 1)
        if self._unit is Unit.DAILY:
            return set(every)
        if self._unit is Unit.WEEKLY:
            return {day for day in every if (first + day - 1) % 7 + 1 in (rule.weekdays or [1])}
        if self._unit is Unit.YEARLY and month not in (rule.months or [1]):
            return set()
        if not rule.weeks:
            return {min(day, length) for day in rule.days or [1]}
        return {
            day
            for day in every
            if (first + day - 1) % 7 + 1 in rule.weekdays
            and ((day - 1) // 7 + 1 in [week for week in rule.weeks if week != LAST_WEEK]
                 or (LAST_WEEK in rule.weeks and day + 7 > length))
        }  # fmt: skip


def next_day(time: int, zone: tzinfo) -> int:
    """The instant (ns) of the first midnight after an instant."""
    day = wall_of(time, zone).replace(hour=0, minute=0, second=0)
    while (found := instant(day, zone)) <= time:
        day += timedelta(days=1)
    return found


def iso_day(time: int, zone: tzinfo) -> date:
    """The local date of an instant (ns)."""
    return datetime.fromtimestamp(time // SECOND, UTC).astimezone(zone).date()
