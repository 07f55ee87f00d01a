"""What the vault, a machine and an item say together."""

from __future__ import annotations

from datetime import UTC

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from catalog.format.plan import FIELDS, Pause, PlanRecord, Schedule, Stop
from catalog.plans.effective import Level, Plan, effective
from catalog.plans.fields import SETTABLE
from catalog.plans.listing import field_of
from tests.kit.format_values import FEW
from tests.plans.plans import records

IDS = {"item": b"i" * 16, "machine": b"m" * 16, "vault": b"v" * 16}
NAMES = {"item": "home", "machine": "srv01", "vault": ""}


def level(what: str, record: PlanRecord | None = None, **fields: object) -> Level:
    made = record or PlanRecord(id=IDS[what], number=1, written=0)
    return Level(what, NAMES[what], IDS[what], 1, replace(made, id=IDS[what], **fields))


@settings(FEW)
@given(records(), records(), records())
def test_field_by_field_the_nearest_level_counts(item: PlanRecord, machine: PlanRecord, vault: PlanRecord) -> None:
    levels = [level("item", item), level("machine", machine), level("vault", vault)]
    plan = effective(levels)
    for name in SETTABLE:
        sayers = [one for one in levels if one.record is not None and getattr(one.record, name) is not None]
        if name in ("paths", "what"):
            sayers = sayers if sayers and sayers[0].what == "item" else []
        if not sayers:
            assert name not in plan.origins and field_of(plan, name) == field_of(Plan(), name)
            continue
        value = getattr(sayers[0].record, name)
        assert field_of(plan, name) == (tuple(value) if isinstance(value, list) else value)
        assert plan.origins[name] == f"{sayers[0].what} {sayers[0].name}".strip()


@settings(FEW)
@given(st.permutations([records(), records()]).flatmap(lambda both: st.tuples(*both)))
def test_a_level_that_says_nothing_changes_nothing(both: tuple[PlanRecord, PlanRecord]) -> None:
    item, vault = level("item", both[0]), level("vault", both[1])
    nothing = Level("machine", "srv01", IDS["machine"])
    assert (
        effective([item, nothing, vault]) == effective([item, level("machine"), vault]) == effective([item, vault])
    )


@settings(FEW)
@given(records(), records(), records(), st.integers(0, 2**62))
def test_nothing_runs_if_any_level_says_so(
    item: PlanRecord, machine: PlanRecord, vault: PlanRecord, now: int
) -> None:
    levels = [level("item", item), level("machine", machine), level("vault", vault)]
    plan = effective(levels)
    assert plan.runs_at(now) == all(effective([one]).runs_at(now) for one in levels)


def test_the_pause_that_ends_last_counts() -> None:
    short, long, endless = Pause(since=1, until=5), Pause(since=2, until=9), Pause(since=3)
    for pauses, wanted in (((short, long), long), ((long, short), long), ((endless, long), endless)):
        plan = effective([level("item", paused=pauses[0]), level("machine", paused=pauses[1])])
        assert plan.paused == wanted
    plan = effective([level("item"), level("machine", paused=long)])
    assert (plan.paused_at(8), plan.paused_at(9)) == (long, None)
    assert plan.origins["paused"] == "machine srv01"


def test_what_is_stopped_wider_is_stopped() -> None:
    plan = effective([level("item", schedule=Schedule(times=[0])), level("vault", stopped=Stop(since=1))])
    assert plan.stopped == Stop(since=1) and not plan.runs_at(5)


def test_a_zone_that_this_machine_does_not_know_costs_only_the_zone() -> None:
    plan = effective([level("item", zone="Mars/Olympus", schedule=Schedule(times=[60]))])
    assert plan.tz is UTC and not plan.zone_is_known and plan.zone == "Mars/Olympus"
    assert effective([level("item", zone="Europe/Berlin")]).zone_is_known
    assert effective([]) == Plan() and Plan().tz is UTC and Plan().zone_is_known


def test_every_field_is_in_a_plan() -> None:
    for name in FIELDS:
        assert hasattr(Plan(), name) or hasattr(Plan().conditions, name)
