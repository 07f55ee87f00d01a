"""Slots in time zones: local times that exist twice or not at all, days that were left out, ends of months."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.format.retention import RetentionRule
from catalog.retention.slots import DAY, HOUR, SECOND, Slots, Unit, end_of, hour_start, instant, next_day, wall_of
from tests.kit.format_values import MANY

# North and south, half hours and quarters, summer time of 30 minutes and of two hours, at midnight, in winter, and
# zones that left out a day.
ZONES = (
    "Europe/Berlin", "America/New_York", "America/Santiago", "America/Sao_Paulo", "Australia/Lord_Howe",
    "Asia/Kolkata", "Asia/Kathmandu", "Africa/Casablanca", "Antarctica/Troll", "Asia/Tehran", "Pacific/Apia",
    "Pacific/Kiritimati",
)  # fmt: skip


def zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def at(text: str, name: str = "UTC") -> int:
    """The instant of a local time that exists once, or the first of two."""
    return int(datetime.fromisoformat(text).replace(tzinfo=zone(name)).timestamp()) * SECOND


def walls(name: str, first: int = 1990, last: int = 2026) -> list[int]:
    """The hours (s since the epoch) in which the clock of a zone was changed."""
    start, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (first, last))
    days = [(s, datetime.fromtimestamp(s, zone(name)).utcoffset()) for s in range(start, end, 86_400)]
    return [b for (_a, before), (b, after) in pairwise(days) if before != after]


def check(wall: datetime, where: ZoneInfo) -> None:
    """A local time is found exactly."""
    found = instant(wall, where)
    shown, before = wall_of(found, where), wall_of(found - SECOND, where)
    if shown == wall:
        for minutes in (*range(15, 4 * 60, 15), 24 * 60):
            assert wall_of(found - minutes * 60 * SECOND, where) != wall, "not the first of two"
    else:
        assert before < wall < shown, "not the first instant after a time that was left out"


@pytest.mark.parametrize("name", ZONES)
def test_every_day_on_which_the_clock_changes(name: str) -> None:
    where, seen = zone(name), set[str]()
    for change in walls(name):
        midnight = wall_of(change * SECOND, where).replace(hour=0, minute=0, second=0)
        for minutes in (*range(-24 * 60, 24 * 60, 180), *range(-1430, 1440, 410), 150, 179, 181):
            wall = midnight + timedelta(minutes=minutes)
            check(wall, where)
            seen.add("skipped" if wall_of(instant(wall, where), where) != wall else "there")
    assert seen == set() if name in ("Asia/Kolkata", "Asia/Kathmandu") else "there" in seen


def test_a_time_that_is_skipped_is_the_first_instant_after_it() -> None:
    berlin = zone("Europe/Berlin")
    for text in ("2026-03-29 02:00", "2026-03-29 02:30", "2026-03-29 02:59"):
        assert instant(datetime.fromisoformat(text), berlin) == at("2026-03-29 01:00")
    assert instant(datetime(2026, 3, 29, 1, 59), berlin) == at("2026-03-29 00:59")


def test_a_time_that_is_repeated_is_the_first_one() -> None:
    assert instant(datetime(2026, 10, 25, 2, 30), zone("Europe/Berlin")) == at("2026-10-25 00:30")
    assert instant(datetime(2026, 10, 25, 3, 0), zone("Europe/Berlin")) == at("2026-10-25 02:00")
    assert instant(datetime(2026, 4, 5, 1, 45), zone("Australia/Lord_Howe")) == at("2026-04-04 14:45")


def test_a_day_that_was_left_out() -> None:
    apia, skipped = zone("Pacific/Apia"), datetime(2011, 12, 30, 18, 0)
    assert instant(skipped, apia) == at("2011-12-30 10:00") == instant(datetime(2011, 12, 31), apia)
    daily = Slots(Unit.DAILY, RetentionRule(keep=7), apia)
    days = [slot.wall.day for slot in islice(daily.since(at("2011-12-28 12:00")), 4)]
    assert days == [28, 29, 31, 1], "the 30th and the 31st begin at one instant: the last one counts"
    friday = Slots(Unit.WEEKLY, RetentionRule(keep=4, weekdays=[5], times=[1080]), apia)
    slot = next(friday.since(at("2012-01-01 00:00")))
    assert (slot.start, slot.wall) == (at("2011-12-30 10:00"), skipped)
    assert end_of(skipped, Unit.WEEKLY, 4, apia) == at("2012-01-28 18:00", "Pacific/Apia")
    last = Slots(Unit.MONTHLY, RetentionRule(keep=3, days=[31]), zone("Pacific/Kiritimati"))
    assert next(last.since(at("1995-01-05 00:00"))).start == at("1994-12-31 10:00"), "31 December 1994 was left out"


def test_a_day_of_23_and_one_of_25_hours_have_one_slot_each() -> None:
    daily = Slots(Unit.DAILY, RetentionRule(keep=7, times=[150]), zone("Europe/Berlin"))
    for first, lengths in (("2026-03-27", [24, 23.5, 23.5]), ("2026-10-23", [24, 24, 25])):
        starts = [slot.start for slot in islice(daily.since(at(first + " 12:00")), 4)]
        assert [(b - a) / HOUR for a, b in pairwise(starts)] == lengths


def of(unit: Unit, since: str, count: int = 4, **rule: list[int]) -> list[str]:
    slots = Slots(unit, RetentionRule(keep=9, **rule), zone("UTC")).since(at(since))
    return [slot.wall.strftime("%Y-%m-%d %H:%M") for slot in islice(slots, count)]


def test_slots_of_each_rule() -> None:
    assert of(Unit.DAILY, "2026-02-28 23:59") == [f"2026-{d} 00:00" for d in ("02-28", "03-01", "03-02", "03-03")]
    assert of(Unit.DAILY, "2026-01-02 17:59", times=[0, 1080]) == [
        "2026-01-02 00:00", "2026-01-02 18:00", "2026-01-03 00:00", "2026-01-03 18:00",
    ]  # fmt: skip
    assert of(Unit.WEEKLY, "2026-01-04 00:00", 2) == ["2025-12-29 00:00", "2026-01-05 00:00"]
    assert of(Unit.WEEKLY, "2026-01-04 00:00", 3, weekdays=[6, 7]) == [
        "2026-01-04 00:00", "2026-01-10 00:00", "2026-01-11 00:00",
    ]  # fmt: skip
    assert of(Unit.MONTHLY, "2026-01-15 00:00", 2) == ["2026-01-01 00:00", "2026-02-01 00:00"]
    assert of(Unit.MONTHLY, "2024-01-31 00:00", 5, days=[30, 31]) == [
        "2024-01-31 00:00", "2024-02-29 00:00", "2024-03-30 00:00", "2024-03-31 00:00", "2024-04-30 00:00",
    ]  # fmt: skip
    assert of(Unit.MONTHLY, "2026-05-01 00:00", 3, weeks=[5], weekdays=[6]) == [
        "2026-04-25 00:00", "2026-05-30 00:00", "2026-06-27 00:00",
    ]  # fmt: skip
    assert of(Unit.MONTHLY, "2026-05-30 00:00", 3, weeks=[1, 4, 5], weekdays=[6], times=[60]) == [
        "2026-05-23 01:00", "2026-05-30 01:00", "2026-06-06 01:00",
    ]  # fmt: skip
    assert of(Unit.YEARLY, "2026-06-01 00:00", 2) == ["2026-01-01 00:00", "2027-01-01 00:00"]
    assert of(Unit.YEARLY, "2026-06-01 00:00", 3, days=[29], months=[2, 7]) == [
        "2026-02-28 00:00", "2026-07-29 00:00", "2027-02-28 00:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wall", "unit", "keep", "end"),
    [
        ("2026-01-31 18:00", Unit.DAILY, 7, "2026-02-08 18:00"),
        ("2026-01-31 18:00", Unit.WEEKLY, 4, "2026-03-01 18:00"),
        ("2026-01-31 18:00", Unit.MONTHLY, 1, "2026-03-01 18:00"),
        ("2024-01-31 18:00", Unit.MONTHLY, 1, "2024-03-01 18:00"),
        ("2023-12-31 00:00", Unit.MONTHLY, 2, "2024-03-01 00:00"),
        ("2024-02-29 00:00", Unit.YEARLY, 1, "2025-03-01 00:00"),
        ("2024-02-29 00:00", Unit.YEARLY, 4, "2028-03-01 00:00"),
        ("2024-02-28 00:00", Unit.YEARLY, 4, "2028-02-29 00:00"),
        ("2025-11-30 00:00", Unit.MONTHLY, 1188, "2124-12-01 00:00"),
        ("2454-01-01 00:00", Unit.YEARLY, 99, "2553-01-02 00:00"),
    ],
)
def test_ends_are_by_the_calendar_and_a_day_later(wall: str, unit: Unit, keep: int, end: str) -> None:
    assert end_of(datetime.fromisoformat(wall), unit, keep, zone("UTC")) == at(end)


def test_an_end_that_does_not_exist_is_the_first_instant_after_it() -> None:
    end = end_of(datetime(2026, 3, 21, 2, 30), Unit.DAILY, 7, zone("Europe/Berlin"))
    assert end == at("2026-03-29 01:00")


times = st.integers(at("1971-01-01 00:00") // SECOND, at("2100-01-01 00:00") // SECOND).map(lambda s: s * SECOND)
lists = st.sampled_from([[], [1], [2, 5], [3, 4]])
some = st.sampled_from([[1], [5], [1, 5], [2, 4]])


@st.composite
def rules(draw: st.DrawFn) -> tuple[Unit, RetentionRule]:
    unit = draw(st.sampled_from(list(Unit)))
    minutes = draw(st.sampled_from([[], [0], [150], [119, 120, 1439], [0, 1080]]))
    rule: dict[str, list[int]] = {"times": minutes}
    if unit is Unit.WEEKLY:
        rule["weekdays"] = draw(lists)
    elif unit is not Unit.DAILY:
        if draw(st.booleans()):
            rule |= {"weeks": draw(some), "weekdays": draw(some)}
        else:
            rule["days"] = draw(st.sampled_from([[], [1], [29, 30, 31], [31], [15]]))
        if unit is Unit.YEARLY:
            rule["months"] = draw(lists)
    return unit, RetentionRule(keep=9, **rule)


@settings(MANY)
@given(rules(), times, st.sampled_from(ZONES))
def test_every_instant_is_in_one_slot(made: tuple[Unit, RetentionRule], time: int, name: str) -> None:
    slots = Slots(*made, zone(name))
    first, *others = islice(slots.since(time), 4)
    assert first.start <= time < others[0].start
    assert all(a.start < b.start for a, b in pairwise([first, *others]))
    for slot in others:
        assert next(slots.since(slot.start)) == slot
        assert next(slots.since(slot.start - SECOND)) != slot


@settings(MANY, max_examples=200)
@given(times, st.sampled_from(ZONES))
def test_the_hour_of_the_clock_and_the_next_day(time: int, name: str) -> None:
    where = zone(name)
    start = hour_start(time, where)
    assert wall_of(start, where).replace(minute=0, second=0) == wall_of(start, where)
    # The clock shows full hours at quarters of real hours; between the found one and `time` it shows none.
    quarter = start + 15 * 60 * SECOND
    assert all(wall_of(t, where).minute or wall_of(t, where).second for t in range(quarter, time + 1, 900 * SECOND))
    day = next_day(time, where)
    assert time < day <= time + 2 * DAY
    assert wall_of(day, where).date() > wall_of(day - SECOND, where).date()


@pytest.mark.parametrize("name", ["Australia/Lord_Howe", "Europe/Berlin", "Asia/Kathmandu"])
def test_hours_on_days_when_the_clock_changes(name: str) -> None:
    where = zone(name)
    for change in walls(name, 2024, 2026):
        for minutes in range(-26 * 60, 26 * 60, 7):
            time = (change + minutes * 60) * SECOND
            back = next(t for t in range(time, time - 3 * HOUR, -60 * SECOND) if wall_of(t, where).minute == 0)
            assert hour_start(time, where) == back
