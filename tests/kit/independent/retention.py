"""Records of retention, and which points hold which slots: from docs/format.md alone, by looking at every day."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from typing import Any

from tests.kit.independent import shapes
from tests.kit.independent.shapes import Damaged, Shape

NS = 10**9
ZONE = re.compile("[A-Za-z0-9_+-]{1,30}(/[A-Za-z0-9_+-]{1,30}){0,3}")
LIMITS = {"daily": 9_999, "weekly": 5_163, "monthly": 1_188, "yearly": 99}
ALLOWED = {
    "daily": {"times"},
    "weekly": {"times", "weekdays"},
    "monthly": {"times", "weekdays", "weeks", "days"},
    "yearly": {"times", "weekdays", "weeks", "days", "months"},
}


def numbers(low: int, high: int) -> tuple[Shape, list[int]]:
    return shapes.array(shapes.number(low, high)), []


def zone(value: Any) -> str:
    if not ZONE.fullmatch(shapes.text(value)):
        raise Damaged("not a name of a time zone")
    return str(value)


kept = shapes.number(0, 9_999)
rule = shapes.record(
    keep=kept,
    times=numbers(0, 1_439),
    weekdays=numbers(1, 7),
    weeks=numbers(1, 5),
    days=numbers(1, 31),
    months=numbers(1, 12),
)
maybe_rule, maybe_kept = (shapes.or_nil(rule), None), (shapes.or_nil(kept), None)
retention = shapes.record(
    id=shapes.ident, number=shapes.whole, written=shapes.whole, by=(shapes.text, ""),
    zone=(shapes.or_nil(zone), None), daily=maybe_rule, weekly=maybe_rule, monthly=maybe_rule, yearly=maybe_rule,
    last=maybe_kept, hourly=maybe_kept, erase_after=maybe_kept,
)  # fmt: skip


def read_retention(name: str, content: bytes) -> dict[str, Any]:
    record: dict[str, Any] = retention(shapes.unpack(content))
    if name != f"policies/{record['id'].hex()}/{record['number']:08}":
        raise Damaged("a record of retention that is not that of its name")
    for field, most in LIMITS.items():
        one = record[field]
        if one is None:
            continue
        lists = {key: value for key, value in one.items() if key != "keep"}
        if one["keep"] > most or len(one["times"]) > 24:
            raise Damaged("more than its limit")
        if any(value != sorted(set(value)) for value in lists.values()):
            raise Damaged("not strictly ascending")
        if {key for key, value in lists.items() if value} - ALLOWED[field]:
            raise Damaged("an array that this rule does not have")
        if field in ("monthly", "yearly") and (
            (one["days"] and one["weeks"]) or bool(one["weeks"]) != bool(one["weekdays"])
        ):
            raise Damaged("days, weeks and weekdays")
    return record


# Slots. All times are ns since 1970; `wall` are local times without a zone.


def local(ns: int, zone: dt.tzinfo) -> dt.datetime:
    return dt.datetime.fromtimestamp(ns // NS, zone).replace(tzinfo=None, fold=0)


def instant_of(wall: dt.datetime, zone: dt.tzinfo) -> int:
    """The first instant at which the clock shows `wall`, or has passed over it."""
    naive = int((wall - dt.datetime(1970, 1, 1)).total_seconds())
    if wall.second == 0:
        for at in range(naive - 27 * 3600, naive + 27 * 3600, 60 if changes(naive, zone) else 900):
            if local(at * NS, zone) >= wall:
                return next(b + 60 for b in range(at - 60, 0, -60) if local(b * NS, zone) < wall) * NS
    raise AssertionError(wall)


def changes(naive: int, zone: dt.tzinfo) -> bool:
    """Whether the clock is put forward or back around a time."""
    days = range(naive - 48 * 3600, naive + 48 * 3600, 3600)
    return len({dt.datetime.fromtimestamp(at, zone).utcoffset() for at in days}) > 1


def is_day(unit: str, one: dict[str, Any], day: dt.date) -> bool:
    """Whether a rule has slots on a day."""
    length = calendar.monthrange(day.year, day.month)[1]
    if unit == "daily":
        return True
    if unit == "weekly":
        return day.isoweekday() in (one["weekdays"] or [1])
    if unit == "yearly" and day.month not in (one["months"] or [1]):
        return False
    if one["weeks"]:
        which = {min(-(-day.day // 7), 5)} | ({5} if day.day + 7 > length else set())
        return day.isoweekday() in one["weekdays"] and bool(which & set(one["weeks"]))
    return day.day in {min(wanted, length) for wanted in one["days"] or [1]}


def slots(unit: str, one: dict[str, Any], zone: dt.tzinfo, first: int, last: int) -> list[tuple[int, dt.datetime]]:
    """The slots from the one that `first` is in to the one that `last` is in."""
    before = {"daily": 3, "weekly": 9, "monthly": 40, "yearly": 400}[unit]
    day, found = (local(first, zone) - dt.timedelta(days=before)).date(), dict[int, dt.datetime]()
    while day <= local(last, zone).date() + dt.timedelta(days=1):
        if is_day(unit, one, day):
            for minute in one["times"] or [0]:
                wall = dt.datetime(day.year, day.month, day.day) + dt.timedelta(minutes=minute)
                found[instant_of(wall, zone)] = wall  # of slots that begin at one instant the last one is meant
        day += dt.timedelta(days=1)
    return sorted(found.items())


def end_of(wall: dt.datetime, unit: str, keep: int, zone: dt.tzinfo) -> int:
    if unit == "daily":
        day = wall.date() + dt.timedelta(days=keep)
    elif unit == "weekly":
        day = wall.date() + dt.timedelta(weeks=keep)
    else:
        year, month, dom = wall.year, wall.month, wall.day
        for _ in range(keep if unit == "monthly" else 12 * keep):
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        day = dt.date(year, month, min(dom, calendar.monthrange(year, month)[1]))
    return instant_of(dt.datetime.combine(day + dt.timedelta(days=1), wall.time()), zone)


def holders(
    points: list[tuple[int, int, int, bytes]], unit: str, one: dict[str, Any], zone: dt.tzinfo
) -> dict[int, tuple[int, int, bytes]]:
    """The holder of each slot that has points: slot -> sequence, end, id of the point.

    Points are (sequence, time, time of the object in the store, id).
    """
    trusted = [p for p in points if abs(p[1] - p[2]) <= 36 * 3600 * NS]
    early = 300 * NS if one["times"] else 0
    found: dict[int, tuple[int, int, bytes]] = {}
    if not trusted:
        return found
    every = slots(unit, one, zone, min(p[1] for p in trusted), max(p[1] for p in trusted))
    for sequence, _time, _stored, ident in sorted(trusted, key=lambda p: (p[2], p[0], p[1], p[3])):
        start, wall = [slot for slot in every if slot[0] - early <= _time][-1]
        if start not in found:
            found[start] = sequence, end_of(wall, unit, one["keep"], zone), ident
    return found
