"""What holds for the retention of every history of points, under every policy."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.format.retention import RetentionRule
from catalog.retention.decide import TRUSTED, Decision, Fact, Hold, Why, age_of, decide
from catalog.retention.policy import Policy
from catalog.retention.slots import DAY, HOUR, SECOND, Unit
from tests.kit.format_values import FEW, MANY
from tests.kit.independent import retention as independent

START = 1_300_000_000 * SECOND  # 2011: the year when Samoa left out a day
ZONES = ("UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/Santiago", "Asia/Kathmandu")
MINUTE = 60 * SECOND


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    times = st.sampled_from([[], [0], [150], [0, 1080]])
    rules: dict[Unit, RetentionRule] = {}
    for unit in draw(st.sets(st.sampled_from(list(Unit)), min_size=1)):
        keep = draw(st.integers(1, 10 if unit is Unit.DAILY else 3))
        rule = RetentionRule(keep=keep, times=draw(times))
        if unit is Unit.WEEKLY:
            rule = msgspec.structs.replace(rule, weekdays=draw(st.sampled_from([[], [5], [6, 7]])))
        elif unit is Unit.MONTHLY:
            rule = msgspec.structs.replace(rule, days=draw(st.sampled_from([[], [15, 31], [29]])))
        elif unit is Unit.YEARLY:
            weeks = draw(st.booleans())
            more = {"weeks": [5], "weekdays": [6]} if weeks else {"days": [29]}
            rule = msgspec.structs.replace(rule, months=[2, 3, 12], **more)
        rules[unit] = rule
    rules = {unit: rules[unit] for unit in Unit if unit in rules}
    return Policy(
        zone=ZoneInfo(draw(st.sampled_from(ZONES))),
        rules=rules,
        last=draw(st.sampled_from([0, 0, 1, 3])),
        hourly=draw(st.sampled_from([0, 0, 5, 48])),
        erase_after=draw(st.sampled_from([0, 0, 0, 30, 400])),
        immutable=draw(st.sampled_from([0, 0, 20])),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Fact]:
    """Backups of one item, one after the other, with pauses; some take long; some were verified."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    gaps = draw(st.lists(st.sampled_from([1, 6, 24, 24, 25, 24 * 7, 24 * 40]), max_size=25))
    time, points = START + rng.randrange(400) * DAY, list[Fact]()
    for number, hours in enumerate(gaps, 1):
        time += hours * HOUR + rng.randrange(-20, 20) * MINUTE
        length = rng.choice([MINUTE, MINUTE, 8 * HOUR])
        time = max(time, points[-1].modified + SECOND) if points else time
        points.append(Fact(number.to_bytes(16, "big"), number, time, time + length, rng.random() < 0.2))
    return points


def ends(points: Sequence[Fact]) -> int:
    return max((p.modified for p in points), default=START)


def kept(decisions: Sequence[Decision]) -> list[Fact]:
    return [d.point for d in decisions if d.keep]


def run(points: Sequence[Fact], policy: Policy, now: int, holds: Sequence[Hold] = ()) -> list[Fact]:
    return kept(decide(points, policy, holds, now))


extremes = st.sampled_from([0, 1, DAY, START, START + 1, START + DAY, 2**63, 2**64 - DAY, 2**64 - 1])
later = st.integers(0, 800).map(lambda days: days * DAY // 2)
laws = settings(MANY, max_examples=60)


@laws
@given(histories(), policies(), later, st.randoms(use_true_random=False))
def test_the_newest_and_the_newest_verified_point_never_go(
    points: list[Fact], policy: Policy, after: int, rng: random.Random
) -> None:
    """Whether their times are right or not."""
    points = [p._replace(time=p.time - rng.choice([0, 0, 40 * DAY])) for p in points]
    for now in (START, ends(points) + after, ends(points) + 100 * 365 * DAY):
        left = run(points, policy, now)
        for among in (points, [p for p in points if p.verified]):
            if among:
                assert max(among, key=age_of) in left


@laws
@given(histories(), policies(), later, st.randoms(use_true_random=False))
def test_the_order_of_the_points_does_not_matter(
    points: list[Fact], policy: Policy, after: int, rng: random.Random
) -> None:
    now = ends(points) + after
    decisions = decide(points, policy, [], now)
    shuffled = rng.sample(points, len(points))
    again = decide(shuffled, policy, [], now)
    assert [d.point for d in again] == shuffled
    assert sorted(map(repr, decisions)) == sorted(map(repr, again))


@laws
@given(histories(), policies(), later)
def test_deciding_again_removes_nothing_more(points: list[Fact], policy: Policy, after: int) -> None:
    now = ends(points) + after
    left = run(points, policy, now)
    assert run(left, policy, now) == left


@laws
@given(histories(), policies(), later, later)
def test_what_is_removed_stays_removed_as_time_goes_by(
    points: list[Fact], policy: Policy, first: int, then: int
) -> None:
    early = START + first
    assert set(run(points, policy, early + then)) <= set(run(points, policy, early))


@laws
@given(histories(), policies(), policies(), later, st.integers(0, 5))
def test_a_larger_policy_keeps_all_that_a_smaller_one_does(
    points: list[Fact], policy: Policy, other: Policy, after: int, more: int
) -> None:
    rules = dict(policy.rules)
    for unit, rule in other.rules.items():
        rules[unit] = rules.get(unit, rule)
    rules = {u: msgspec.structs.replace(rules[u], keep=rules[u].keep + more) for u in Unit if u in rules}
    larger = replace(
        policy,
        rules=rules,
        last=policy.last + more,
        hourly=policy.hourly + more,
        erase_after=policy.erase_after and policy.erase_after + more,
        immutable=policy.immutable + more,
    )
    now = ends(points) + after
    assert set(run(points, policy, now)) <= set(run(points, larger, now))
    assert set(run(points, policy, now)) <= set(run(points, replace(policy, erase_after=0), now))


@laws
@given(histories(), policies(), st.integers(1, 5))
def test_to_remove_daily_and_to_remove_once_leave_the_same(points: list[Fact], policy: Policy, days: int) -> None:
    if not points:
        return
    end = ends(points) + 50 * DAY
    left, now = list[Fact](), points[0].time
    for before, after in pairwise(range(now, end + days * DAY, days * DAY)):
        left += [p for p in points if before < p.modified <= after]
        left = run(left, policy, after)
    assert left == run(points, policy, after)


@laws
@given(histories(), policies(), later, st.data())
def test_points_with_forged_times_move_nobody(
    points: list[Fact], policy: Policy, after: int, data: st.DataObject
) -> None:
    """Somebody who may create objects adds points that claim any time, and any sequence, and to be verified."""
    now = ends(points) + after
    rows = st.tuples(
        st.integers(0, 99),
        st.integers(0, 4000 * DAY),
        st.sampled_from([-1, 1]),
        st.integers(0, 2**40),
        st.booleans(),
    )
    forged = list[Fact]()
    for n, (sequence, ago, sign, far, verified) in enumerate(data.draw(st.lists(rows, max_size=8))):
        stored = max(now - ago, 0)
        time = max(stored + sign * (TRUSTED + 1 + far * 1000), 0)
        if abs(time - stored) > TRUSTED:
            forged.append(Fact(b"forged" + bytes([n]), sequence, time, stored, verified))
    together = decide([*points, *forged], policy, [], now)
    alone = decide(points, policy, [], now)
    assert [d.keep for d in together[: len(points)]] == [d.keep for d in alone]
    for d in together[len(points) :]:
        assert not {r.why for r in d.reasons} & {*map(Why, Unit), Why.HOURLY, Why.LAST}


@laws
@given(histories(), policies(), st.lists(st.tuples(st.integers(0, 36), st.booleans()), max_size=5))
def test_a_later_point_takes_no_slot_from_an_earlier_one(
    points: list[Fact], policy: Policy, added: list[tuple[int, bool]]
) -> None:
    """Also if its time is only a little wrong, so that the store can't contradict it."""
    stored = ends(points)
    more = [
        Fact(bytes([n]) * 3, len(points) + n, stored + (hours if late else -hours) * HOUR, stored + n + 1)
        for n, (hours, late) in enumerate(added)
    ]

    def held(given: Sequence[Fact]) -> dict[Fact, set[tuple[str, int | None]]]:
        decisions = decide(given, replace(policy, erase_after=0), [], stored + DAY // 2)
        rules = {*map(Why, Unit), Why.HOURLY}
        return {d.point: {(r.why, r.slot) for r in (*d.reasons, *d.ended) if r.why in rules} for d in decisions}

    before, after = held(points), held([*points, *more])
    assert all(after[p] >= {row for row in before[p] if row[0] != Why.HOURLY} for p in points)


@laws
@given(histories(), policies(), later, st.integers(0, 40))
def test_no_point_goes_for_its_age_while_backups_stand_still(
    points: list[Fact], policy: Policy, after: int, days: int
) -> None:
    """From two periods of the finest rule after the newest point on, nothing goes, however long that lasts."""
    now = ends(points) + 2 * min(u.longest for u in policy.rules) + DAY
    policy = replace(policy, erase_after=0, immutable=0)
    assert run(points, policy, now) == run(points, policy, now + after + days * 365 * DAY)


@laws
@given(histories(), policies(), later, st.data())
def test_holds_keep_points_and_touch_no_other(
    points: list[Fact], policy: Policy, after: int, data: st.DataObject
) -> None:
    now = ends(points) + after
    held = data.draw(st.sets(st.sampled_from(points))) if points else set()
    until = data.draw(st.sampled_from([None, now + DAY]))
    holds = [Hold(p.id, until, "a pin") for p in held] + [Hold(b"no such point", None, "")]
    left = set(run(points, policy, now))
    assert set(run(points, policy, now, holds)) == left | held
    assert set(run(points, policy, now, [Hold(p.id, START, "over") for p in held])) == left


@laws
@given(policies(), st.lists(st.tuples(extremes, extremes, st.integers(0, 2**64 - 1)), max_size=6), extremes)
def test_every_time_that_a_record_can_have_is_decided(
    policy: Policy, rows: list[tuple[int, int, int]], now: int
) -> None:
    points = [Fact(bytes([n]), sequence, time, stored) for n, (time, stored, sequence) in enumerate(rows)]
    left = run(points, policy, now)
    assert run(left, policy, now) == left
    assert not points or max(points, key=age_of) in left


@settings(FEW)
@given(histories(), policies())
def test_slots_are_held_as_the_format_says(points: list[Fact], policy: Policy) -> None:
    """Compared with holders that were found by looking at every day, by code written from docs/format.md alone."""
    assert policy.zone is not None
    rng = random.Random(len(points))
    points = [p._replace(time=p.time + rng.choice([0, 0, TRUSTED, -30 * DAY])) for p in points]
    found = [r for d in decide(points, policy, [], ends(points)) for r in _held(d)]
    rows = [(p.sequence, p.time, p.modified, p.id) for p in points]
    want = [
        (unit, start, end, ident)
        for unit, rule in policy.rules.items()
        for start, (_sequence, end, ident) in independent.holders(
            rows, unit, msgspec.structs.asdict(rule), policy.zone
        ).items()
    ]
    assert sorted(found) == sorted(want)


def _held(decision: Decision) -> list[tuple[str, int, int, bytes]]:
    return [
        (str(r.why), r.slot, r.until, decision.point.id)
        for r in (*decision.reasons, *decision.ended)
        if r.why in set(map(Why, Unit)) and r.slot is not None and r.until is not None
    ]
