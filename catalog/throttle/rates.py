"""Which limit counts at a moment: pure, without a clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from catalog.format.plan import DAY, Limit

LEAST = 16 << 10  # bytes/s; at less, servers give up a request before its object has arrived
_DAYS = 8  # a rate that has lasted longer than a week never changes


class Limits(NamedTuple):
    """Bytes a second to the vault and from it. None: no limit; 0: nothing goes."""

    up: int | None = None
    down: int | None = None


def rate(windows: Sequence[Limit], now: datetime) -> Limits:
    """The limits at a moment of the wall clock: those of the last window that holds it, else none.

    A window begins on its weekdays; if its end is not later than its start, it goes over midnight. The wall clock
    decides: when it is put forward, a window in the skipped hour does not happen, and when it is put back, one in
    the repeated hour happens twice.
    """
    weekday, minute = now.isoweekday(), now.hour * 60 + now.minute
    for window in reversed(windows):
        if _holds(window, weekday, minute):
            return Limits(_at_least(window.up), _at_least(window.down))
    return Limits()


def changes_at(windows: Sequence[Limit], now: datetime) -> datetime | None:
    """The next moment of the wall clock at which the limits are others; None if they never change."""
    limits = rate(windows, now)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    edges = sorted({edge % DAY for window in windows for edge in (window.start, window.end)} | {0})
    for day in range(_DAYS + 1):
        for edge in edges:
            moment = today + timedelta(days=day, minutes=edge)
            if moment > now.replace(tzinfo=None) and rate(windows, moment) != limits:
                return moment.replace(tzinfo=now.tzinfo)
    return None


def never_goes(windows: Sequence[Limit]) -> bool:
    """Whether nothing can go to the vault, or nothing from it, at any time of any week."""
    edges = sorted({edge % DAY for window in windows for edge in (window.start, window.end)} | {0})
    monday = datetime(2024, 1, 1)  # by the wall clock
    found = [
        rate(windows, monday + timedelta(days=day, minutes=edge))
        for day in range(7 if windows else 0)
        for edge in edges
    ]
    return bool(found) and (all(one.up == 0 for one in found) or all(one.down == 0 for one in found))


def _holds(window: Limit, weekday: int, minute: int) -> bool:
    days = window.weekdays or range(1, 8)
    if window.start < window.end:
        return weekday in days and window.start <= minute < window.end
    if minute >= window.start:
        return weekday in days
    return minute < window.end and (weekday - 2) % 7 + 1 in days  # it began the day before


def _at_least(rate: int | None) -> int | None:
    return max(rate, LEAST) if rate else rate
