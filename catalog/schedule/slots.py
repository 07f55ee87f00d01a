"""The slots of a plan: the instants at which its jobs should run, in ns since the epoch (UTC).

A local time that does not exist means the first instant after it, one that exists twice the first of the two, so
that neither is ever skipped or served twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Protocol

from catalog.format.plan import Schedule
from catalog.retention.slots import instant, wall_of

SECOND = 10**9  # ns
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
MOST_MISSED = 10_000  # slots that are counted
_MOST_DAYS = 400  # that slots are counted back over
_NO_DATE = (OverflowError, ValueError, OSError)  # a time that no calendar has


class Slots(Protocol):
    """The slots of a duty. `period` is the time (ns) from one to the next, about."""

    period: int

    def last(self, now: int) -> int | None:
        """The last slot at or before `now`; None if there is none in the 400 days (or two rounds) before."""
        ...

    def next(self, now: int) -> int | None:
        """The first slot after `now`; None if there is none."""
        ...

    def between(self, after: int, before: int) -> int:
        """How many slots are after `after` and before `before`, counted up to MOST_MISSED."""
        ...


class WallSlots:
    """The slots of backups, by the clock on the wall of a zone."""

    def __init__(self, times: Schedule, zone: tzinfo) -> None:
        self._times, self._zone = times, zone
        self._weekdays = frozenset(times.weekdays) or frozenset(range(1, 8))
        self.period = self._period()

    def _period(self) -> int:
        if self._times.every:
            return self._times.every * MINUTE
        return DAY * 7 * max(self._times.every_weeks, 1) // (len(self._weekdays) * max(len(self._times.times), 1))

    def last(self, now: int) -> int | None:
        """The last slot at or before `now`; None if there is none in the 400 days (or two rounds) before."""
        for day in self._days(now, back=True):
            found = [slot for slot in self.of_day(day) if slot <= now]
            if found:
                return found[-1]
        return None

    def next(self, now: int) -> int | None:
        """The first slot after `now`."""
        for day in self._days(now, back=False):
            found = [slot for slot in self.of_day(day) if slot > now]
            if found:
                return found[0]
        return None

    def between(self, after: int, before: int) -> int:
        """How many slots are after `after` and before `before`, counted up to 10,000."""
        number = 0
        for day in self._days(before, back=True):
            slots = self.of_day(day)
            number += sum(after < slot < before for slot in slots)
            if number >= MOST_MISSED or (slots and slots[0] <= after) or _midnight(day, self._zone) <= after:
                break
        return min(number, MOST_MISSED)

    def _days(self, around: int, *, back: bool) -> Iterator[date]:
        """The days with slots, from two after (or before) the instant's own on."""
        try:
            first = wall_of(around, self._zone).date() + timedelta(days=2 if back else -2)
        except _NO_DATE:
            return
        step = timedelta(days=-1 if back else 1)
        for number in range(max(_MOST_DAYS, 15 * max(self._times.every_weeks, 1)) + 3):
            try:
                day = first + number * step
            except _NO_DATE:
                return
            if self._is_chosen(day):
                yield day

    def _is_chosen(self, day: date) -> bool:
        if day.isoweekday() not in self._weekdays:
            return False
        weeks = self._times.every_weeks
        return weeks <= 1 or ((day - date(1970, 1, 1)).days - self._times.anchor) // 7 % weeks == 0

    def of_day(self, day: date) -> list[int]:
        """The slots of a day, whatever its weekday. The clock may make two of them one."""
        try:
            if not self._times.every:
                walls = [datetime.combine(day, time()) + timedelta(minutes=m) for m in self._times.times]
                return sorted({instant(wall, self._zone) for wall in walls})
            start, end = _midnight(day, self._zone), _midnight(day + timedelta(days=1), self._zone)
        except _NO_DATE:
            return []
        return list(range(start, end, self._times.every * MINUTE))


def _midnight(day: date, zone: tzinfo) -> int:
    return instant(datetime.combine(day, time()), zone)


class Grid:
    """Slots of upkeep that has never run: every so often, machines apart."""

    def __init__(self, period: int, hashed: float) -> None:
        self.period, self._offset = period, int(period * hashed)

    def last(self, now: int) -> int | None:
        return (now - self._offset) // self.period * self.period + self._offset

    def next(self, now: int) -> int | None:
        last = self.last(now)
        return None if last is None else last + self.period

    def between(self, after: int, before: int) -> int:
        return min(max((before - after - 1) // self.period, 0), MOST_MISSED)
