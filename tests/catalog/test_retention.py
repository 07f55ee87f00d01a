"""Retention by example: the rules of the MARS agent's documentation, golden tables, the clock, guards and sizes."""

from __future__ import annotations

import time as clock
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from catalog.errors import LocalError
from catalog.format.retention import Retention, RetentionRule
from catalog.retention.decide import TRUSTED, Decision, Fact, Hold, Why, decide, stopped
from catalog.retention.policy import Level, Policy, effective, shortened, zone_named
from catalog.retention.slots import DAY, HOUR, SECOND, Unit

BERLIN = ZoneInfo("Europe/Berlin")
MIDNIGHT, EVENING = 0, 18 * 60
SATURDAY = [6]


def ns(text: str, zone: ZoneInfo = BERLIN) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * SECOND


def local(time: int | None, zone: ZoneInfo = BERLIN) -> str | None:
    if time is None:
        return None
    return datetime.fromtimestamp(time // SECOND, zone).strftime("%Y-%m-%d %H:%M")


def points(times: Iterable[str], *, length: int = 60 * SECOND) -> list[Fact]:
    return [Fact(t.encode(), n, ns(t), ns(t) + length) for n, t in enumerate(times, 1)]


def name(decision: Decision) -> str:
    return decision.point.id.decode()


def held(decisions: Iterable[Decision], why: Why) -> dict[str, str | None]:
    """The points that a rule keeps, or kept, and until when."""
    return {name(d): local(r.until) for d in decisions for r in (*d.reasons, *d.ended) if r.why is why}


def kept(decisions: Iterable[Decision]) -> list[str]:
    return [name(d) for d in decisions if d.keep]


def days(first: str, count: int, *times: str) -> list[str]:
    start = datetime.fromisoformat(first)
    return [f"{start + timedelta(days=n):%Y-%m-%d} {t}" for n in range(count) for t in times]


def daily(keep: int, *times: int, **more: object) -> Policy:
    return Policy(zone=BERLIN, rules={Unit.DAILY: RetentionRule(keep=keep, times=list(times))}, **more)  # type: ignore[arg-type]


# --- the example of the MARS agent's documentation --------------------------------------------------------------

MARS = Policy(
    zone=BERLIN,
    rules={
        Unit.DAILY: RetentionRule(keep=7, times=[MIDNIGHT, EVENING]),
        Unit.WEEKLY: RetentionRule(keep=4, times=[MIDNIGHT, EVENING], weekdays=SATURDAY),
        Unit.MONTHLY: RetentionRule(keep=12, times=[MIDNIGHT, EVENING], weeks=[5], weekdays=SATURDAY),
        Unit.YEARLY: RetentionRule(keep=10, times=[MIDNIGHT, EVENING], weeks=[5], weekdays=SATURDAY, months=[3]),
    },
)


def test_the_example_of_mars() -> None:
    """Two backups a day: 7 days; both of Saturday 4 weeks; of the last Saturday 12 months; of March's 10 years."""
    made = points(days("2025-01-01", 729, "00:00", "18:00"))
    now = ns("2026-12-31 12:00")
    decisions = decide(made, MARS, [], now)
    last_saturdays = [
        "2026-01-31", "2026-02-28", "2026-03-28", "2026-04-25", "2026-05-30", "2026-06-27",
        "2026-07-25", "2026-08-29", "2026-09-26", "2026-10-31", "2026-11-28", "2026-12-26",
    ]  # fmt: skip
    monthly = [f"{day} {t}" for day in last_saturdays for t in ("00:00", "18:00")]
    alive = {
        why: [name(d) for d in decisions for r in d.reasons if r.why is why]
        for why in (Why.DAILY, Why.WEEKLY, Why.MONTHLY, Why.YEARLY)
    }
    assert alive[Why.MONTHLY] == monthly
    assert alive[Why.YEARLY][:2] == ["2025-01-01 00:00", "2025-03-29 00:00"], "the first point counts for each rule"
    assert alive[Why.YEARLY][2:] == ["2025-03-29 18:00", "2026-03-28 00:00", "2026-03-28 18:00"]
    saturdays = [f"2026-12-{day} {t}" for day in ("05", "12", "19", "26") for t in ("00:00", "18:00")]
    assert alive[Why.WEEKLY] == saturdays
    assert alive[Why.DAILY] == ["2026-12-23 18:00", *days("2026-12-24", 7, "00:00", "18:00")]
    assert kept(decisions) == sorted({n for names in alive.values() for n in names})
    tags = {name(d): [(str(r.why), local(r.until)) for r in d.reasons] for d in decisions}
    assert tags["2026-03-28 18:00"] == [("monthly", "2027-03-29 18:00"), ("yearly", "2036-03-29 18:00")]
    assert tags["2026-12-30 18:00"] == [
        ("daily", "2027-01-07 18:00"),
        ("recent", "2026-12-31 18:01"),
        ("newest", None),
    ]


def test_the_next_good_point_stands_in_for_a_failed_one() -> None:
    made = points(
        [*days("2026-06-01", 26, "00:00", "18:00"), "2026-06-27 09:30", "2026-06-27 18:00", "2026-06-28 00:00"]
    )
    weekly = held(decide(made, MARS, [], ns("2026-06-28 12:00")), Why.WEEKLY)
    assert weekly["2026-06-27 09:30"] == "2026-07-26 00:00", "made by hand, in the slot of midnight"
    assert "2026-06-28 00:00" not in weekly


def test_a_slot_that_nobody_held_for_days_is_held_by_the_first_point_after_it() -> None:
    made = points(["2026-05-29 00:00", "2026-06-04 11:00", "2026-06-05 00:00", "2026-06-06 00:00"])
    decisions = decide(made, MARS, [], ns("2026-06-07 00:00"))
    assert held(decisions, Why.WEEKLY) == {
        "2026-05-29 00:00": "2026-06-21 18:00",
        "2026-06-04 11:00": "2026-06-28 18:00",
        "2026-06-06 00:00": "2026-07-05 00:00",
    }


def test_five_minutes_early_are_in_time_if_times_are_given() -> None:
    times = ["2026-06-01 12:00", "2026-06-01 23:54", "2026-06-01 23:56", "2026-06-02 12:00"]
    for rule, holders in (([MIDNIGHT], [0, 2]), ([], [0, 3])):
        decisions = decide(points(times), daily(7, *rule), [], ns("2026-06-03 00:00"))
        assert list(held(decisions, Why.DAILY)) == [times[n] for n in holders]


def test_a_month_without_the_day_has_its_last() -> None:
    rule = RetentionRule(keep=3, days=[30])
    policy = Policy(zone=BERLIN, rules={Unit.MONTHLY: rule})
    made = points(days("2023-12-30", 100, "08:00"))
    assert list(held(decide(made, policy, [], ns("2024-04-08 00:00")), Why.MONTHLY).items()) == [
        ("2023-12-30 08:00", "2024-03-31 00:00"),
        ("2024-01-30 08:00", "2024-05-01 00:00"),
        ("2024-02-29 08:00", "2024-05-30 00:00"),
        ("2024-03-30 08:00", "2024-07-01 00:00"),
    ]


# --- golden tables ----------------------------------------------------------------------------------------------

TABLE = """
2026-03-27 02:30  daily 2026-04-05 02:30, weekly 2026-04-21 00:00, monthly 2026-06-02 00:00
2026-03-28 02:30  daily 2026-04-06 02:30
2026-03-29 03:00  daily 2026-04-07 02:30
2026-03-30 02:30  daily 2026-04-08 02:30, weekly 2026-04-28 00:00
2026-03-31 02:26  daily 2026-04-09 02:30
2026-04-01 02:24  monthly 2026-07-02 00:00
2026-04-01 02:31  daily 2026-04-10 02:30
2026-04-01 23:00  no slot
"""


def test_a_table_with_a_night_without_half_past_two() -> None:
    policy = Policy(
        zone=BERLIN,
        rules={
            Unit.DAILY: RetentionRule(keep=8, times=[150]),
            Unit.WEEKLY: RetentionRule(keep=4),
            Unit.MONTHLY: RetentionRule(keep=3),
        },
    )
    rows = [line.split("  ") for line in TABLE.strip().splitlines()]
    decisions = decide(points(when for when, _said in rows), policy, [], ns("2026-04-02 00:00"))
    rules = {Why.DAILY, Why.WEEKLY, Why.MONTHLY}
    for d, (when, said) in zip(decisions, rows, strict=True):
        found = [f"{r.why} {local(r.until)}" for r in (*d.reasons, *d.ended) if r.why in rules]
        assert (when, ", ".join(found) or "no slot") == (when, said)


def test_hourly_and_last_are_kept_too() -> None:
    made = points(f"2026-06-01 {h:02}:{m:02}" for h in range(24) for m in (5, 35))
    decisions = decide(made, daily(7, hourly=6, last=3), [], ns("2026-06-03 00:00"))
    assert {name(d) for d in decisions if any(r.why is Why.LAST for r in d.reasons)} == {
        "2026-06-01 22:35", "2026-06-01 23:05", "2026-06-01 23:35",
    }  # fmt: skip
    decisions = decide(made, daily(7, hourly=26), [], ns("2026-06-02 23:36:01"))
    assert held(decisions, Why.HOURLY) == {
        f"2026-06-01 {h:02}:05": f"2026-06-{2 if h < 22 else 3:02} {(h + 2) % 24:02}:00" for h in range(21, 24)
    } | {"2026-06-01 21:05": "2026-06-02 23:00"}
    assert kept(decisions) == ["2026-06-01 00:05", "2026-06-01 22:05", "2026-06-01 23:05", "2026-06-01 23:35"]


def test_the_last_are_those_of_today_and_of_a_day_ago() -> None:
    made = points(f"2026-06-{day:02} {hour}:00" for day in (1, 2, 3) for hour in (10, 11, 12))
    decisions = decide(made, daily(7, last=2), [], ns("2026-06-03 13:00"))
    assert [name(d) for d in decisions if Why.LAST in {r.why for r in d.reasons}] == [
        f"2026-06-{day:02} {hour}:00" for day in (2, 3) for hour in (11, 12)
    ]  # fmt: skip


# --- guards, times, the clock -----------------------------------------------------------------------------------


def test_without_a_policy_all_points_are_kept() -> None:
    made = points(days("2000-01-01", 3, "00:00"))
    for policy in (Policy(), Policy(zone=BERLIN, last=1), Policy(rules={Unit.DAILY: RetentionRule(keep=7)})):
        decisions = decide(made, policy, [], ns("2026-01-01 00:00"))
        assert {(d.keep, d.reasons[0].why) for d in decisions} == {(True, Why.NO_POLICY)}


def test_under_fields_of_a_later_version_all_points_are_kept() -> None:
    made = points(days("2000-01-01", 3, "00:00"))
    decisions = decide(made, daily(7, unknown=("quarterly", "daily.shift")), [], ns("2026-01-01 00:00"))
    assert {(d.keep, r.why, r.note) for d in decisions for r in d.reasons} == {
        (True, Why.UNKNOWN_FIELDS, "quarterly, daily.shift")
    }


def test_time_stops_two_periods_after_the_newest_point() -> None:
    made = points(days("2026-06-01", 20, "08:00"))
    just = decide(made, daily(7), [], ns("2026-06-22 08:00"))
    for now in ("2026-06-22 08:01", "2026-07-01 00:00", "2036-07-01 00:00"):
        assert kept(decide(made, daily(7), [], ns(now))) == kept(just) == days("2026-06-15", 6, "08:00")
        assert local(stopped(made, daily(7), ns(now))) == "2026-06-22 08:00"
    assert stopped(made, daily(7), ns("2026-06-22 07:00")) is None
    weekly = Policy(zone=BERLIN, rules={Unit.WEEKLY: RetentionRule(keep=4)})
    assert local(stopped(made, weekly, ns("2036-07-01 00:00"))) == "2026-07-04 08:00"


def test_after_a_pause_the_first_new_point_changes_nothing_for_a_day() -> None:
    made = points([*days("2026-06-01", 20, "08:00"), "2026-08-01 08:00"])
    before = kept(decide(made[:-1], daily(7), [], ns("2026-08-01 08:00")))
    assert kept(decide(made, daily(7), [], ns("2026-08-02 08:00"))) == [*before, "2026-08-01 08:00"]
    assert kept(decide(made, daily(7), [], ns("2026-08-02 08:02"))) == ["2026-08-01 08:00"]


def test_only_erase_after_goes_on_by_real_time_and_never_takes_the_newest() -> None:
    made = points(days("2026-06-01", 20, "08:00"))
    hold = Hold(b"2026-06-03 08:00", None, "law suit")
    decisions = decide(made, daily(30, erase_after=60), [hold], ns("2026-08-09 08:00"))
    assert kept(decisions) == ["2026-06-03 08:00", *days("2026-06-11", 10, "08:00")]
    assert [r.why for r in decisions[0].ended] == [Why.DAILY, Why.ERASE_AFTER]
    assert decisions[0].ended[-1] == (Why.ERASE_AFTER, ns("2026-07-31 08:00"), None, "")
    assert kept(decide(made, daily(30, erase_after=60), [], ns("2030-01-01 00:00"))) == ["2026-06-20 08:00"]
    immutable = daily(30, erase_after=60, immutable=90)
    assert kept(decide(made, immutable, [], ns("2026-08-25 08:00"))) == kept(decide(made, immutable, [], 0))


def test_a_date_until_which_a_point_is_retained_stands_still_too() -> None:
    made = points(["2026-06-01 08:00", "2026-06-01 09:00", "2026-06-02 08:00"])
    hold = Hold(b"2026-06-01 09:00", ns("2026-06-20 00:00"), "before the upgrade")
    for now in ("2026-06-19 00:00", "2026-07-01 00:00"):
        decision = decide(made, daily(7), [hold], ns(now))[1]
        assert [(r.why, local(r.until), r.note) for r in decision.reasons] == [
            (Why.HOLD, "2026-06-20 00:00", "before the upgrade")
        ]
    made.append(points(["2026-07-01 08:00"])[0]._replace(sequence=4))
    assert not decide(made, daily(7), [hold], ns("2026-07-02 09:00"))[1].keep


def test_a_wrong_time_holds_no_slot_and_is_kept_like_the_longest_rule() -> None:
    policy = Policy(zone=BERLIN, rules={Unit.DAILY: RetentionRule(keep=7), Unit.MONTHLY: RetentionRule(keep=3)})
    made = points(days("2026-06-01", 20, "08:00"))
    stored = ns("2026-06-10 10:00")
    for time, trusted in ((stored - TRUSTED, True), (stored - TRUSTED - 1, False), (stored + TRUSTED + 1, False)):
        odd = Fact(b"odd", 5, time, stored)
        decision = decide([*made, odd], policy, [], ns("2026-06-21 00:00"))[-1]
        why = {r.why: local(r.until) for r in decision.reasons}
        assert why == ({} if trusted else {Why.TIME: "2026-09-11 10:00"})
        assert decision.keep is not trusted
    assert not decide([*made, odd], policy, [], ns("2036-01-01 00:00"))[-1].keep or stopped(made, policy, 2**63)


def test_in_a_fresh_copy_of_a_vault_nothing_goes() -> None:
    """The objects of a copy are young: no time is confirmed, until there are new points."""
    copied = ns("2026-09-01 12:00")
    made = [p._replace(modified=copied + p.sequence) for p in points(days("2020-01-01", 400, "08:00"))]
    assert len(kept(decide(made, daily(7), [], copied + 3650 * DAY))) == 400
    new = [Fact(b"new %d" % n, 400 + n, copied + n * DAY, copied + n * DAY) for n in range(1, 30)]
    left = kept(decide([*made, *new], daily(7), [], copied + 29 * DAY + HOUR))
    assert left == [f"new {n}" for n in range(22, 30)]


def test_what_no_trusted_point_follows_is_kept() -> None:
    made = points(days("2026-06-01", 20, "08:00"))
    old = ns("2020-01-01 00:00")
    odd = [Fact(b"odd", 1000, old + 40 * DAY, old), Fact(b"newest", 1001, 0, old), Fact(b"before", 7, 0, old)]
    decisions = decide([*made, *odd], daily(7), [], ns("2026-06-21 00:00"))[-3:]
    assert [[r.why for r in d.reasons] for d in decisions] == [
        [Why.NOT_REPLACED],
        [Why.NOT_REPLACED, Why.NEWEST],
        [],
    ]


def test_the_newest_of_a_day_ago_is_kept_though_it_holds_no_slot() -> None:
    made = points(["2026-06-01 08:00", "2026-06-01 20:00", "2026-06-02 20:00", "2026-06-02 22:00"])
    after = ["2026-06-01 08:00", "2026-06-02 20:00", "2026-06-02 22:00"]
    assert kept(decide(made, daily(7), [], ns("2026-06-03 20:01"))) == after
    assert kept(decide(made, daily(7), [], ns("2026-06-03 20:00"))) == sorted([*after, "2026-06-01 20:00"])


def test_an_attacker_who_floods_an_item_gets_no_slot_that_is_held() -> None:
    made = points(days("2026-06-01", 30, "08:00"))
    now = ns("2026-06-30 20:00")
    flood = [Fact(b"f%d" % n, 31 + n, now - HOUR * (n % 36), now - HOUR + n) for n in range(1000)]
    before = kept(decide(made, daily(14), [], now))
    after = kept(decide([*made, *flood], daily(14), [], now))
    assert after[: len(before)] == before


# --- levels -----------------------------------------------------------------------------------------------------


def level(what: str, **fields: object) -> Level:
    return Level(what, what, what.encode(), 3, Retention(id=bytes(16), number=3, written=1, **fields))  # type: ignore[arg-type]


def test_the_nearest_level_counts_field_by_field() -> None:
    week, off = RetentionRule(keep=4), RetentionRule(keep=0)
    vault = level("vault", zone="Europe/Berlin", daily=RetentionRule(keep=30), weekly=week, last=5)
    machine = level("machine", daily=RetentionRule(keep=60), hourly=48)
    item = level("item", zone="UTC", weekly=off, last=0)
    policy = effective([item, machine, vault, Level("more", "", b"")], 30)
    assert policy == Policy(
        zone=ZoneInfo("UTC"),
        rules={Unit.DAILY: RetentionRule(keep=60)},
        last=0, hourly=48, erase_after=0, immutable=30, unknown=(),
        origins={"zone": item, "daily": machine, "weekly": item, "last": item, "hourly": machine},
    )  # fmt: skip
    assert effective([machine._replace(unknown={"x": 1}), vault._replace(unknown={"a": 1})]).unknown == ("a", "x")
    assert not effective([]).is_complete


def test_a_zone_that_is_unknown_here_is_named() -> None:
    for text in ("Mars/Olympus", "Europe", "posixrules/x"):
        with pytest.raises(LocalError, match="no data for the time zone"):
            zone_named(text)


def test_what_a_policy_shortens_is_named() -> None:
    old = daily(30, last=5, erase_after=100)
    assert shortened(old, old) == []
    assert shortened(old, daily(31, last=6)) == []
    assert shortened(old, daily(29, last=4, erase_after=99)) == ["daily", "last", "erase_after"]
    assert shortened(old, daily(30, EVENING, last=5, erase_after=100)) == ["daily"]
    assert shortened(daily(7), daily(7, erase_after=10_000)) == ["erase_after"]
    assert shortened(old, Policy()) == ["daily", "last", "zone"]
    assert shortened(Policy(), old) == ["erase_after"]


# --- at size ----------------------------------------------------------------------------------------------------


def test_twenty_years_of_hourly_points() -> None:
    """CPU time is printed, not asserted; the number of steps is bounded by what each rule looks at."""
    first, now = ns("2006-01-01 00:00"), ns("2026-01-01 00:00")
    made = [Fact(n.to_bytes(8, "big"), n, t, t + 60 * SECOND) for n, t in enumerate(range(first, now, HOUR), 1)]
    policy = Policy(
        zone=BERLIN,
        rules={
            Unit.DAILY: RetentionRule(keep=30, times=[MIDNIGHT, EVENING]),
            Unit.WEEKLY: RetentionRule(keep=12, weekdays=SATURDAY),
            Unit.MONTHLY: RetentionRule(keep=60, weeks=[5], weekdays=SATURDAY),
            Unit.YEARLY: RetentionRule(keep=10),
        },
        hourly=48,
        last=10,
        erase_after=9_000,
    )
    for some in (made[-10_000:], made):
        before = clock.process_time()
        decisions = decide(some, policy, [], now)
        print(f"{len(some):,} points: {clock.process_time() - before:.2f} s of CPU")
    left = [d.point.time for d in decisions if d.keep]
    assert len(made) == 175_320 and len(left) == 180
    assert all(b - a == HOUR for a, b in pairwise(left[-47:]))
