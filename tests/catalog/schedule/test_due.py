"""The calendar: which jobs are due, by the plan, the runs on record, and the time."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catalog.format.plan import Care, Pause, Schedule, Stop
from catalog.plans.effective import Plan
from catalog.schedule.due import (
    BACKUP,
    NO_ROLE,
    STILL_RUNNING,
    UPKEEP,
    Due,
    Duty,
    Job,
    due,
    expected_by,
    grace,
    lapsed,
    next_slot,
    overlapped,
)
from catalog.schedule.history import Ran
from catalog.schedule.slots import DAY, HOUR, MINUTE, WallSlots

# Zones and years: half an hour, midnight, a day left out, twice a year around Ramadan, one minute past midnight.
CHANGES = {
    "Europe/Berlin": (2024, 2026), "America/New_York": (2006, 2007), "Australia/Lord_Howe": (2025, 2026),
    "America/Sao_Paulo": (2017, 2018), "Asia/Beirut": (2023, 2024), "Pacific/Apia": (2010, 2012),
    "Africa/Casablanca": (2025, 2026), "America/St_Johns": (2008, 2011), "UTC": (2025, 2025),
}  # fmt: skip
ZONES = tuple(CHANGES)
PRUNE = Duty("prune")


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 10**9


def daily(*times: int, zone: str = "Europe/Berlin", spread: int = 0, **more: Any) -> Plan:
    return Plan(zone=zone, schedule=Schedule(times=list(times)), spread=spread, **more)


def run(
    started: int, outcome: str = "completed", slot: int = 0, took: int = MINUTE, kind: str = "backup", **more: Any
) -> Ran:
    return Ran(
        id=f"{started:x}-{outcome}-{slot}", kind=kind, outcome=outcome, started=started, slot=slot,
        finished=0 if outcome in ("running", "killed") else started + took, **more,
    )  # fmt: skip


def only(found: Due) -> Job:
    (job,) = found.jobs
    return job


# --- slots ------------------------------------------------------------------------------------------------


def _changes(zone: str) -> list[date]:
    """The local days on which the clock of a zone is changed, and those before them."""
    first, last = CHANGES[zone]
    info, found, day = ZoneInfo(zone), set[date](), date(first, 1, 1)
    while day.year <= last:
        following = day + timedelta(days=1)
        if _offset(day, info) != _offset(following, info):
            found |= {day, following}
        day = following
    return sorted(found)


def _offset(day: date, zone: ZoneInfo) -> timedelta | None:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).astimezone(zone).utcoffset()


@pytest.mark.parametrize("zone", ZONES)
def test_every_change_of_the_clock(zone: str) -> None:
    """Each wall time of a day is one instant, in order; what the clock skips is the first instant after it."""
    info = ZoneInfo(zone)
    for day in _changes(zone) or [date(2024, 3, 31)]:
        schedule = Schedule(times=list(range(0, 1440, 60)))
        slots = WallSlots(schedule, info)
        around = [slot for n in (-1, 0, 1) for slot in slots.of_day(day + timedelta(days=n))]
        assert around == sorted(around)
        for slot in around:
            local = datetime.fromtimestamp(slot // 10**9, info)
            before = datetime.fromtimestamp(slot // 10**9 - 1, info)
            assert local.fold == 0, "a repeated hour counts once"
            assert local.hour * 60 + local.minute in schedule.times or local.utcoffset() != before.utcoffset()
        one = WallSlots(Schedule(times=[150]), info)
        for here, following in pairwise(
            sorted({s for n in (-1, 0, 1) for s in one.of_day(day + timedelta(days=n))})
        ):
            assert one.last(following - 1) == one.last(here) == here
            assert one.next(here) == one.next(following - 1) == following


def test_a_skipped_and_a_repeated_hour() -> None:
    slots = WallSlots(Schedule(times=[150]), ZoneInfo("Europe/Berlin"))
    assert slots.of_day(date(2026, 3, 29)) == [at("2026-03-29T01:00")]  # 03:00 CEST, the first instant after
    assert slots.of_day(date(2026, 10, 25)) == [at("2026-10-25T00:30")]  # 02:30 CEST, the first of two


def test_every_so_many_minutes_in_days_of_23_and_25_hours() -> None:
    slots = WallSlots(Schedule(every=15), ZoneInfo("Europe/Berlin"))
    assert [len(slots.of_day(day)) for day in (date(2026, 3, 29), date(2026, 10, 25), date(2026, 6, 1))] == [
        92,
        100,
        96,
    ]


def test_weekdays_and_weeks() -> None:
    monday = date(2026, 1, 5)
    schedule = Schedule(times=[60], weekdays=[1, 5], every_weeks=3, anchor=(monday - date(1970, 1, 1)).days)
    slots = WallSlots(schedule, ZoneInfo("UTC"))
    found, slot = list[str](), slots.next(at("2026-01-01"))
    while len(found) < 5:
        assert slot is not None
        found.append(datetime.fromtimestamp(slot // 10**9, UTC).strftime("%m-%d"))
        slot = slots.next(slot)
    assert found == ["01-05", "01-09", "01-26", "01-30", "02-16"]
    assert slots.last(at("2026-01-25")) == at("2026-01-09T01:00")
    assert WallSlots(Schedule(times=[0], weekdays=[7], every_weeks=52), ZoneInfo("UTC")).last(at("2026-01-25"))


# --- what is due ------------------------------------------------------------------------------------------


def test_a_slot_is_served_by_a_run_after_it() -> None:
    plan, slot = daily(21 * 60), at("2026-11-20T21:00", "Europe/Berlin")
    earlier = run(slot - DAY)
    assert due(plan, [earlier], slot - 1) == Due([], [])
    job = only(due(plan, [earlier], slot))
    assert job == Job(BACKUP, slot, 0, slot)
    assert due(plan, [earlier, run(slot + 1, slot=slot)], slot + MINUTE) == Due([], [])
    assert due(plan, [earlier, run(slot + 1, "completed with warnings")], slot + MINUTE) == Due([], []), (
        "by hand, too"
    )
    assert due(plan, [earlier, run(slot + 1, "running", slot)], slot + MINUTE) == Due([], [])


def test_any_number_of_missed_slots_is_one_run() -> None:
    plan, slot = daily(21 * 60, zone="UTC"), at("2026-11-20T21:00")
    job = only(due(plan, [run(slot - 30 * DAY)], slot + HOUR))
    assert (job.slot, job.missed) == (slot, 29)
    traced = [run(slot - 30 * DAY), run(slot - DAY, "failed", slot - DAY)]
    assert only(due(plan, traced, slot + HOUR)).missed == 28, "one of them has a row of its own"
    assert due(plan, [run(slot - 30 * DAY)], slot + DAY - 20 * MINUTE) == Due([], []), "the next one is near"
    assert only(due(plan, [run(slot - 30 * DAY)], slot + DAY)).missed == 30


def test_without_catch_up() -> None:
    plan, slot = daily(21 * 60, zone="UTC", catch_up=False), at("2026-11-20T21:00")
    assert only(due(plan, [run(slot - 2 * DAY)], slot + 3 * HOUR)).slot == slot
    assert due(plan, [run(slot - 2 * DAY)], slot + 13 * HOUR) == Due([], [])
    assert grace(plan) == 12 * HOUR


def test_slots_that_are_given_up_are_missed() -> None:
    plan, slot = daily(21 * 60, zone="UTC", catch_up=False), at("2026-11-20T21:00")
    rows = [run(slot - 5 * DAY)]
    assert lapsed(plan, rows, slot + 12 * HOUR) is None
    assert lapsed(plan, rows, slot + 13 * HOUR) == (slot, 4)
    assert lapsed(plan, [*rows, run(slot + HOUR, "failed", slot)], slot + 13 * HOUR) is None, "that has a row"
    assert lapsed(plan, [*rows, run(slot + 13 * HOUR, "missed", slot)], slot + 14 * HOUR) is None
    assert lapsed(plan, [run(slot + HOUR)], slot + 13 * HOUR) is None
    assert lapsed(plan, rows, slot + 13 * HOUR, since=slot) is None
    assert lapsed(daily(21 * 60, zone="UTC"), rows, slot + 13 * HOUR) is None
    missed = run(slot + 13 * HOUR, "missed", slot, missed=4)
    job = only(due(plan, [*rows, missed], slot + DAY))
    assert (job.slot, job.attempt, job.missed) == (slot + DAY, 1, 0), "each of the others is in that row"
    assert only(due(plan, rows, slot + DAY)).missed == 5, "nobody had the time to note them"


def test_machines_begin_apart_after_a_slot_and_after_waking() -> None:
    plan, slot = daily(21 * 60, zone="UTC", spread=15), at("2026-11-20T21:00")
    machines = [bytes([n]) * 16 for n in range(200)]
    for base, resumed in ((slot, 0), (slot + 5 * HOUR, slot + 5 * HOUR)):
        ready = []
        for machine in machines:
            found = due(plan, [run(slot - DAY)], base, machine=machine, resumed=resumed)
            ready.append((found.jobs + found.later)[0].ready - base)
        assert all(0 <= r <= 15 * MINUTE for r in ready)
        thirds = [sum(n * 5 * MINUTE <= r < (n + 1) * 5 * MINUTE for r in ready) for n in range(3)]
        assert min(thirds) > 30
    assert due(plan, [run(slot - DAY)], slot + 15 * MINUTE, machine=machines[0]).jobs


def test_a_failed_run_is_tried_again_ever_later() -> None:
    plan, slot = daily(21 * 60, zone="UTC"), at("2026-11-20T21:00")
    rows, now, begun = [run(slot - DAY)], slot, []
    while now < slot + DAY:
        found = due(plan, rows, now)
        if found.jobs:
            begun.append((now - slot) // MINUTE)
            rows.append(run(now, "failed", slot))
        now += 5 * MINUTE
    assert begun == [0, 10, 25, 50, 95, 180, 345, 670, 1035, 1400][: len(begun)]
    assert len(begun) in (9, 10)
    assert only(due(plan, rows, slot + DAY)).attempt == 1


def test_a_killed_or_interrupted_run_is_tried_again() -> None:
    plan, slot = daily(21 * 60, zone="UTC"), at("2026-11-20T21:00")
    for outcome in ("killed", "interrupted", "failed"):
        rows = [run(slot - DAY), run(slot, outcome, slot)]
        assert due(plan, rows, slot + 2 * MINUTE).jobs == []
        assert only(due(plan, rows, slot + 7 * MINUTE)).attempt == 2


def test_overlap() -> None:
    """A slot that comes while a run is at work is served by it if it succeeds, and not if it fails."""
    plan, first = Plan(zone="UTC", schedule=Schedule(every=15), spread=0), at("2026-11-20T21:00")
    skip = run(first + 15 * MINUTE, "skipped", first + 15 * MINUTE, reason=STILL_RUNNING)
    now = first + 21 * MINUTE
    assert due(plan, [run(first, took=20 * MINUTE), skip], now) == Due([], [])
    assert due(plan, [run(first, took=20 * MINUTE), skip], first + 30 * MINUTE).jobs
    assert due(plan, [run(first, "failed", took=20 * MINUTE), skip], now).jobs


def test_paused_and_stopped() -> None:
    slot = at("2026-11-20T21:00")
    rows = [run(slot - 10 * DAY)]
    paused = daily(21 * 60, zone="UTC", paused=Pause(since=slot - 9 * DAY, until=slot - HOUR))
    assert due(paused, rows, slot - 2 * HOUR) == Due([], [])
    assert expected_by(paused, rows, slot - 2 * HOUR) is None
    assert due(paused, rows, slot - HOUR) == Due([], []), "the slots of a pause are none"
    assert only(due(paused, rows, slot)).missed == 0
    assert expected_by(paused, rows, slot - HOUR) == slot
    open_end = daily(21 * 60, zone="UTC", paused=Pause(since=slot - 9 * DAY))
    assert due(open_end, rows, slot + 900 * DAY) == Due([], [])
    stopped = daily(21 * 60, zone="UTC", stopped=Stop(since=slot), prune=Care(every=24))
    assert due(stopped, rows, slot + DAY, duties=(BACKUP, *UPKEEP)) == Due([], [])


def test_a_clock_that_was_ahead_blocks_nothing() -> None:
    plan, slot = daily(21 * 60, zone="UTC"), at("2026-11-20T21:00")
    ahead = run(slot + 30 * DAY)
    assert only(due(plan, [run(slot - DAY), ahead], slot)).slot == slot
    marked = run(slot - HOUR, ahead=True)
    assert only(due(plan, [run(slot - DAY), marked], slot)).slot == slot
    failed = run(slot, "failed", slot, took=30 * DAY)  # the clock was set back while it ran
    assert due(plan, [failed], slot + HOUR).later[0].ready <= slot + HOUR + 5 * MINUTE


def test_a_clock_a_month_on_is_one_run() -> None:
    plan, slot = daily(21 * 60, zone="UTC"), at("2026-11-20T21:00")
    rows = [run(slot)]
    now = slot + 31 * DAY + HOUR
    job = only(due(plan, rows, now))
    rows.append(run(now, slot=job.slot))
    assert due(plan, rows, now + HOUR) == Due([], [])


def test_no_schedule_no_slots_strange_times() -> None:
    assert due(Plan(zone="UTC"), [], 10**18) == Due([], [])
    assert expected_by(Plan(zone="UTC"), [], 10**18) is None
    plan = daily(0)
    for now in (0, 1, -(10**18), 2**63 - 1, 2**80):
        due(plan, [run(5), run(2**62)], now)
        expected_by(plan, [run(5)], now)
    unknown = daily(21 * 60, zone="Mars/Olympus")
    assert only(due(unknown, [], at("2026-11-20T21:30"))).slot == at("2026-11-20T21:00"), "as UTC: it is saved"


# --- upkeep -----------------------------------------------------------------------------------------------


def test_upkeep_comes_round_and_does_not_drift() -> None:
    plan = Plan(zone="UTC", spread=0, prune=Care(every=24), check_2=Care(every=24), restore_test=Care(every=720))
    now = at("2026-11-01T10:07")
    first = due(plan, [], now, duties=UPKEEP, machine=b"m")
    assert [job.duty for job in first.jobs] == [PRUNE, Duty("check", 2), Duty("restore-test")]
    rows, slots = list[Ran](), []
    for _ in range(24 * 12 * 5):
        for job in due(plan, rows, now, duties=(PRUNE,), machine=b"m").jobs:
            rows.append(run(now + 3 * MINUTE, slot=job.slot, kind="prune"))
            slots.append(job.slot)
        now += 5 * MINUTE
    assert len(slots) in (5, 6)
    assert {b - a for a, b in pairwise(slots)} == {DAY}


def test_no_role_is_skipped_once_a_slot() -> None:
    plan, now = Plan(zone="UTC", spread=0, prune=Care(every=24)), at("2026-11-01T10:07")
    job = only(due(plan, [], now, duties=(PRUNE,)))
    skip = run(now, "skipped", job.slot, kind="prune", reason=NO_ROLE)
    assert due(plan, [skip], now + HOUR, duties=(PRUNE,)) == Due([], [])
    assert only(due(plan, [skip], job.slot + DAY, duties=(PRUNE,))).slot == job.slot + DAY
    waits = run(now, "skipped", job.slot, kind="prune", reason="on battery")
    assert due(plan, [waits], now + HOUR, duties=(PRUNE,)).jobs, "a condition only delays"


def test_expected_by_stands_still_until_something_succeeds() -> None:
    plan, slot = daily(21 * 60, zone="UTC"), at("2026-11-20T21:00")
    never = [run(slot, "failed", slot), run(slot + DAY, "failed", slot + DAY)]
    assert {expected_by(plan, never, slot + n * HOUR) for n in range(1, 100)} == {slot}
    assert expected_by(plan, [run(slot - DAY), *never], slot + 5 * DAY) == slot
    assert expected_by(plan, [run(slot + 1)], slot + 5) == slot + DAY
    upkeep = Plan(zone="UTC", check_1=Care(every=168))
    check = Duty("check", 1)
    assert (
        expected_by(upkeep, [run(slot, slot=slot, kind="check", level=1)], slot + 1, duty=check) == slot + 7 * DAY
    )


# --- laws -------------------------------------------------------------------------------------------------

schedules = st.one_of(
    st.builds(
        Schedule,
        times=st.lists(st.integers(0, 1439), min_size=1, max_size=4, unique=True).map(sorted),
        weekdays=st.lists(st.integers(1, 7), max_size=4, unique=True).map(sorted),
        every_weeks=st.integers(1, 3),
    ),
    st.builds(Schedule, every=st.integers(15, 1440)),
)
starts = st.integers(at("2005-01-01"), at("2035-01-01")).map(lambda t: t // 10**9 * 10**9)


def _simulated(plan: Plan, begin: int, ticks: int, asleep: Callable[[int], bool], machine: bytes) -> list[Ran]:
    """The runs of a machine that ticks every five minutes while it is awake, each of which takes four."""
    rows, resumed, was = [run(begin)], 0, False
    for n in range(1, ticks):
        now = begin + n * 5 * MINUTE
        if asleep(n):
            was = True
            continue
        resumed, was = (now if was else resumed), False
        for job in due(plan, rows, now, machine=machine, resumed=resumed).jobs:
            rows.append(run(now, slot=job.slot, took=4 * MINUTE, missed=job.missed))
    return rows


@settings(max_examples=12, deadline=None)
@given(schedules, st.sampled_from(ZONES), starts, st.integers(0, 15), st.integers(0, 2**32))
def test_each_slot_is_served_exactly_once(
    schedule: Schedule, zone: str, begin: int, spread: int, seed: int
) -> None:
    plan = Plan(zone=zone, schedule=schedule, spread=spread)
    sleep, chance = set[int](), random.Random(seed)
    ticks = 12 * 24 * 3
    for _ in range(chance.randrange(4)):
        first = chance.randrange(ticks)
        sleep |= set(range(first, first + chance.randrange(ticks // 3)))
    rows = _simulated(plan, begin, ticks, sleep.__contains__, bytes(16))
    slots = WallSlots(schedule, ZoneInfo(zone))
    served = [ran.slot for ran in rows[1:]]
    assert served == sorted(set(served)), "no slot twice"
    for before, after in pairwise(rows):
        assert after.missed == slots.between(before.started, after.slot), "each slot between is credited"
        assert before.started < after.slot <= after.started
    last = slots.last(begin + (ticks - 1) * 5 * MINUTE)
    if last is not None and not sleep and schedule.every == 0 and len(schedule.times) == 1:
        assert last - rows[-1].started <= 40 * MINUTE


@settings(max_examples=50, deadline=None)
@given(schedules, st.sampled_from(ZONES), starts, st.lists(
    st.tuples(st.integers(0, 6 * DAY), st.sampled_from(
        ["completed", "completed with warnings", "failed", "killed", "interrupted", "skipped"])),
    max_size=12), st.randoms())  # fmt: skip
def test_order_and_repetition_do_not_matter(
    schedule: Schedule, zone: str, begin: int, made: list[tuple[int, str]], chance: random.Random
) -> None:
    plan, now = Plan(zone=zone, schedule=schedule), begin + 3 * DAY
    rows = [run(begin + offset, outcome, begin + offset - MINUTE) for offset, outcome in made]
    found = due(plan, rows, now)
    shuffled = rows[:]
    chance.shuffle(shuffled)
    assert due(plan, shuffled, now) == found
    assert due(plan, rows, now) == found, "idempotent"
    future = [ran for ran in rows if ran.started <= now]
    assert due(plan, future, now) == found, "what a clock ahead noted does not count"
    slot = WallSlots(schedule, ZoneInfo(zone)).last(now)
    for job in found.jobs + found.later:
        assert job.slot == slot
        assert job.slot <= now
    assert expected_by(plan, shuffled, now) == expected_by(plan, rows, now)


numbers = st.one_of(st.integers(-(2**63), 2**64 - 1), st.integers(at("2026-11-01"), at("2026-12-01")))


@settings(max_examples=60, deadline=None)
@given(schedules, st.sampled_from(ZONES), numbers, st.lists(
    st.tuples(numbers, numbers, numbers, st.sampled_from(["completed", "failed", "skipped", "running", "purple"]),
              st.sampled_from(["", NO_ROLE, STILL_RUNNING]), st.booleans()), max_size=6), numbers)  # fmt: skip
@example(Schedule(every=15), "UTC", 10_003 * HOUR, [(0, 0, 1, "completed", "", False)], 0)  # hourly
def test_whatever_the_history_says_the_calendar_answers(
    schedule: Schedule, zone: str, now: int, made: list[tuple[int, int, int, str, str, bool]], other: int
) -> None:
    plan = Plan(zone=zone, schedule=schedule, check_1=Care(every=24), prune=Care(every=1))
    rows = [
        Ran(id=str(n), kind=kind, level=level, started=started, finished=finished, slot=slot, outcome=outcome,
            reason=reason, ahead=ahead)
        for n, (started, finished, slot, outcome, reason, ahead) in enumerate(made)
        for kind, level in (("backup", 0), ("prune", 0), ("check", 1))
    ]  # fmt: skip
    for time in (now, other):
        found = due(plan, rows, time, duties=(BACKUP, *UPKEEP), since=other, resumed=now)
        assert all(job.slot <= time and job.ready <= time for job in found.jobs)
        assert all(0 <= job.missed <= 10_000 and job.attempt >= 1 for job in found.jobs + found.later)
        for duty in (BACKUP, *UPKEEP):
            expected_by(plan, rows, time, duty=duty)
        lapsed(plan, rows, time)
        overlapped(plan, rows, time)
        next_slot(plan, time)
