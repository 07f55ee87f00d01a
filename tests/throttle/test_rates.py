"""Which limit counts at a moment of the week."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.errors import UsageError
from catalog.format.plan import DAY, Limit
from catalog.throttle.given import Given
from catalog.throttle.rates import LEAST, Limits, changes_at, rate

MIB = 1 << 20
BERLIN = ZoneInfo("Europe/Berlin")
NONE = Limits()
OFFICE = Limit(weekdays=[1, 2, 3, 4, 5], start=8 * 60, end=18 * 60, up=MIB, down=2 * MIB)
LUNCH = Limit(weekdays=[1, 2, 3, 4, 5], start=12 * 60, end=13 * 60)
NIGHT = Limit(weekdays=[5], start=22 * 60, end=6 * 60, up=0, down=0)
WORK = Limits(MIB, 2 * MIB)


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-23 07:59:59", NONE),  # a Monday
        ("2026-11-23 08:00", WORK),
        ("2026-11-23 12:30", NONE),  # the last match wins, and sets no limit
        ("2026-11-23 13:00", WORK),
        ("2026-11-23 17:59:59", WORK),
        ("2026-11-23 18:00", NONE),
        ("2026-11-28 10:00", NONE),  # Saturday
        ("2026-11-27 22:00", Limits(0, 0)),  # Friday night
        ("2026-11-28 05:59", Limits(0, 0)),
        ("2026-11-28 06:00", NONE),
        ("2026-11-29 05:00", NONE),  # it does not begin on Saturday
        ("2026-11-26 23:00", NONE),
    ],
)
def test_the_last_window_that_holds_a_moment_counts(moment: str, expected: Limits) -> None:
    assert rate([OFFICE, LUNCH, NIGHT], at(moment)) == expected


def test_a_window_of_sunday_night_ends_on_monday() -> None:
    night = Limit(weekdays=[7], start=23 * 60, end=60, up=MIB)
    assert rate([night], at("2026-11-23 00:30")) == Limits(MIB, None)
    assert rate([night], at("2026-11-24 00:30")) == NONE


def test_no_weekdays_are_all_days_and_a_day_has_all_its_minutes() -> None:
    always = Limit(start=0, end=DAY, down=MIB)
    assert {
        rate([always], at(f"2026-11-{day} {time}")) for day in range(20, 28) for time in ("00:00", "23:59")
    } == {Limits(None, MIB)}


def test_the_hour_that_is_skipped_in_spring_has_no_window() -> None:
    window = [Limit(start=2 * 60, end=3 * 60, up=0)]
    seconds = [datetime.fromtimestamp(1774742400 + s, BERLIN) for s in range(0, 3 * 3600, 600)]  # 29 March 2026
    assert {moment.hour for moment in seconds} == {1, 3, 4}
    assert {rate(window, moment) for moment in seconds} == {NONE}


def test_the_hour_that_is_repeated_in_autumn_has_its_window_twice() -> None:
    window = [Limit(start=2 * 60, end=3 * 60, up=0)]
    begin = datetime(2026, 10, 24, 23, 30, tzinfo=ZoneInfo("UTC"))  # 01:30 there, and 25 October
    paused = [
        minute
        for minute in range(0, 240)
        if rate(window, (begin + timedelta(minutes=minute)).astimezone(BERLIN)).up == 0
    ]
    assert paused == list(range(30, 150))


def test_a_rate_is_never_too_low_for_a_server() -> None:
    assert rate([Limit(start=0, end=DAY, up=1, down=LEAST + 1)], at("2026-11-23 07:00")) == Limits(LEAST, LEAST + 1)


minutes = st.integers(0, DAY - 1)
rates = st.sampled_from([None, 0, MIB, 2 * MIB])
limits = st.builds(
    lambda days, start, length, up, down: Limit(
        weekdays=sorted(days), start=start, end=(start + length - 1) % DAY + 1, up=up, down=down
    ),
    st.sets(st.integers(1, 7)), minutes, st.integers(1, DAY - 1), rates, rates,
)  # fmt: skip


@settings(max_examples=20)
@given(st.lists(limits, max_size=3), st.integers(0, 7 * DAY - 1))
def test_the_next_change_is_the_first_one(windows: list[Limit], minute: int) -> None:
    now = datetime(2026, 11, 23) + timedelta(minutes=minute, seconds=7)
    change = changes_at(windows, now)
    first = now.replace(second=0)
    following = (first + timedelta(minutes=n) for n in range(1, 7 * DAY + 1))
    assert change == next((m for m in following if rate(windows, m) != rate(windows, now)), None)


def test_options_say_limits() -> None:
    assert Given().limits() is None
    assert Given("2M").limits() == Limits(2 * MIB, 2 * MIB)
    assert Given("2M/s", up="64K").limits() == Limits(64 << 10, 2 * MIB)
    assert Given(down="1M").limits() == Limits(None, MIB)
    assert Given("1M", down="off").limits() == Limits(MIB, None)
    assert Given("off").limits() == NONE


@pytest.mark.parametrize("text", ["0", "15K", "fast", "2M/min", "-1"])
def test_a_limit_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Given(text).limits()
