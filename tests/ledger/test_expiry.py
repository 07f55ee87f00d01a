"""What goes by policy, until when it can be had back, and what stops it."""

from __future__ import annotations

import logging

import pytest

from catalog.errors import Damaged, MissingData
from catalog.format.ledger import ForgottenRow, HeldRow, How, ledger_folder
from catalog.format.records import PointName
from catalog.format.retention import Retention, RetentionRule, encode_retention
from catalog.format.sealed import Kind
from catalog.format.signed import seal_signed
from catalog.ledger.expiry import Expiry, expire
from catalog.ledger.records import Ledgers
from catalog.policies.records import Policies
from catalog.retention.slots import DAY
from tests.ledger.world import BEGIN, ITEM, MACHINE, OTHER, World, point_id

SOFT = 14 * DAY


@pytest.fixture
def world() -> World:
    return World()


def run(world: World, *, yes: bool = False, dry: bool = False) -> Expiry:
    """Let points of the item go by policy."""
    return by_item(world, yes=yes, dry=dry)[ITEM]


def by_item(world: World, *, yes: bool = False, dry: bool = False) -> dict[bytes, Expiry]:
    found = expire(world.vault, MACHINE, world.now, None if dry else world.signer, yes=yes)
    return {one.item: one for one in found}


def ways(one: Expiry) -> list[tuple[int, int, int]]:
    """Sequence, way and days of soft delete of each row."""
    return [(row.sequence, row.how, (row.until - row.since) // DAY) for row in one.rows]


def test_nothing_goes_without_a_policy(world: World) -> None:
    world.days(40)
    before = world.requests
    assert run(world) == Expiry(MACHINE, ITEM, [], 40)
    assert world.requests - before == 3, "points, ledgers, policies"


def test_points_of_an_unchanged_policy_go_at_once_day_by_day(world: World) -> None:
    world.policy(daily="7")
    world.now += 30 * DAY  # the policy is old
    gone = []
    for _ in range(20):
        world.days(1)
        gone += ways(run(world))
    assert gone == [(n, How.BY_POLICY, 0) for n in range(1, 14)]
    ledger = world.ledger()
    assert sorted(row.sequence for row in ledger.forgotten.values()) == list(range(1, 14))
    assert ledger.number == 13, "one record a day on which points go"
    assert [row.reason[:11] for row in ledger.forgotten.values()] == ["daily ended"] * 13
    assert all(ledger.is_due(point, world.now) for point in ledger.forgotten)
    assert run(world).rows == []


def test_once_or_daily_the_same_points_go(world: World) -> None:
    daily = World()
    for one in (world, daily):
        one.policy(daily="7", weekly="4")
        one.now += 30 * DAY
    for _ in range(60):
        world.days(1)
        daily.days(1)
        run(daily)
    run(world, yes=True)
    assert world.ledger().forgotten.keys() == daily.ledger().forgotten.keys()


def test_points_that_go_because_a_policy_was_shortened_have_soft_delete(world: World) -> None:
    world.policy(daily="30")
    world.now += 60 * DAY
    world.days(30)
    assert run(world).rows == []
    world.policy(daily="7")
    assert run(world).braked == "23 points of 30 would go at once, more than a quarter"
    assert world.ledger().number == 0
    assert ways(run(world, yes=True)) == [(n, How.SHORTENED, 14) for n in range(1, 24)]
    # Those that end in the days after the change, too: nobody may have noticed yet.
    for n in range(14):
        world.days(1)
        assert ways(run(world)) == [(24 + n, How.SHORTENED, 14)]
    world.days(1)
    assert ways(run(world)) == [(38, How.BY_POLICY, 0)], "by now it is the policy"
    # Whoever sets the old policy again within the time, and takes them back, has lost nothing.
    assert not any(row.until < BEGIN + 104 * DAY for row in world.ledger().forgotten.values() if row.sequence < 38)


def test_it_does_not_matter_when_upkeep_runs(world: World) -> None:
    """Points that ended before the policy was shortened have soft delete also if nothing ran for a year."""
    world.policy(daily="9999")
    world.now += 60 * DAY
    world.days(30)
    world.policy(daily="7")
    world.days(365)
    rows = ways(run(world, yes=True))
    assert [row for row in rows if row[1] == How.SHORTENED] == [(n, How.SHORTENED, 14) for n in range(1, 38)]
    assert [row for row in rows if row[1] == How.BY_POLICY] == [(n, How.BY_POLICY, 0) for n in range(38, 389)]


def test_the_first_policy_shortens_for_ever(world: World) -> None:
    world.days(40)
    world.policy(daily="30")
    assert {row[1:] for row in ways(run(world, yes=True))} == {(How.SHORTENED, 14)}


def test_a_policy_that_was_lengthened_meanwhile(world: World) -> None:
    """365 days, then 7, then 30: what the first would keep counts; a day of soft delete more or less does not."""
    world.policy(daily="365")
    world.now += 400 * DAY
    world.days(60)
    world.policy(daily="7")
    world.now += DAY
    world.policy(daily="30")
    rows = ways(run(world, yes=True))
    assert rows == [(n, How.SHORTENED, 14) for n in range(1, 32)]
    again = World()
    again.policy(daily="7")
    again.now += 60 * DAY
    again.days(40)
    again.policy(daily="30")
    assert {row[1:] for row in ways(run(again, yes=True))} == {(How.BY_POLICY, 0)}, "it keeps more than before"


def test_the_policy_of_an_item_counts_and_its_changes(world: World) -> None:
    world.policy(daily="30")
    world.policy(OTHER, daily="60")
    world.now += 90 * DAY
    world.days(60)
    world.now -= 60 * DAY
    world.days(60, OTHER)
    world.policy(OTHER, daily="30")
    found = by_item(world, yes=True)
    assert {row[1:] for row in ways(found[ITEM])} == {(How.BY_POLICY, 0)}
    assert {row[1:] for row in ways(found[OTHER])} == {(How.SHORTENED, 14)}
    assert len(found[ITEM].rows) == len(found[OTHER].rows) == 30


def test_as_long_as_the_vault_says(world: World) -> None:
    world.vault.change_file(lambda file: file.changed(soft_delete_days=180))
    world.days(40)
    world.policy(daily="30")
    assert {row[2] for row in ways(run(world, yes=True))} == {180}


def test_a_dry_run_writes_nothing_and_says_the_same(world: World) -> None:
    world.policy(daily="7")
    world.now += 30 * DAY
    world.days(10)
    objects = set(world.memory.objects)
    dry = run(world, dry=True)
    assert set(world.memory.objects) == objects and len(dry.rows) == 3 and dry.kept == 7
    assert run(world) == dry


def test_requests_of_a_run_in_which_points_go(world: World) -> None:
    world.policy(daily="7")
    world.now += 30 * DAY
    world.days(10)
    names = world.vault.point_names()
    fresh = Ledgers(world.vault, MACHINE)
    policies = Policies(world.vault)
    stored = dict(world.vault.stored_points(MACHINE))
    before = world.requests
    expire(
        world.vault, MACHINE, world.now, world.signer, stored=stored, opened=names, ledgers=fresh, policies=policies
    )
    # The vault's policy, the newest point for the brake, and the ledger.
    assert world.requests - before == 3
    world.days(1)
    before = world.requests
    expire(world.vault, MACHINE, world.now, world.signer)
    # Three listings, policy and ledger, the records of eight points, one of which was read before, the new ledger.
    assert world.requests - before == 3 + 2 + 7 + 1


# --- what stays ---------------------------------------------------------------------------------------------


def test_held_points_stay(world: World) -> None:
    world.policy(daily="7")
    world.now += 30 * DAY
    names = world.days(12)
    rows = [
        HeldRow(names[0].id, 1, 0, None, "a case at court", "me"),
        HeldRow(names[1].id, 2, 0, world.now + 1, "", "me"),
        HeldRow(names[2].id, 3, 0, world.now - 1, "over", "me"),
    ]
    Ledgers(world.vault).change(MACHINE, ITEM, lambda ledger: ledger.hold(rows), world.signer, world.now)
    assert [row[0] for row in ways(run(world))] == [3, 4, 5]


def test_a_point_that_is_held_meanwhile_stays(world: World) -> None:
    """A hold that comes between the decision and the ledger's record counts."""
    world.policy(daily="7")
    world.now += 30 * DAY
    names = world.days(10)
    stale = Ledgers(world.vault, MACHINE)
    stale.of(MACHINE, ITEM)
    hold = [HeldRow(names[0].id, 1, 0, None, "", "me")]
    Ledgers(world.vault).change(MACHINE, ITEM, lambda ledger: ledger.hold(hold), world.signer, world.now)
    expire(world.vault, MACHINE, world.now, world.signer, ledgers=stale)
    assert [row.sequence for row in world.ledger().forgotten.values()] == [2, 3]


def test_what_was_forgotten_by_hand_keeps_its_time(world: World) -> None:
    world.policy(daily="7")
    world.now += 30 * DAY
    names = world.days(10)
    row = ForgottenRow(names[0].id, 1, world.now, world.now + SOFT, How.BY_HAND, "", "")
    Ledgers(world.vault).change(MACHINE, ITEM, lambda ledger: ledger.forget([row]), world.signer, world.now)
    assert [r[0] for r in ways(run(world))] == [2, 3]
    assert world.ledger().forgotten[names[0].id] == row


def test_names_of_nobody_hold_no_slot(world: World) -> None:
    """Whoever may create objects can give one the name of any point, e.g. one that takes the slot of a day."""
    world.policy(daily="7")
    world.now += 30 * DAY
    world.days(9)
    for hour in range(8):  # each the first of its day
        world.now += DAY
        name = PointName(MACHINE, ITEM, world.now, 10 + hour, bytes([hour]) * 16, partial=False)
        world.store.create(str(name), [b"junk"])
    assert [row[0] for row in ways(run(world))] == [1, 2, 3], "time stands still after the ninth"


# --- the brake ----------------------------------------------------------------------------------------------


def test_what_should_have_gone_long_ago_needs_a_yes(world: World) -> None:
    """The store's clock may have jumped on."""
    world.policy(daily="7")
    world.days(40)
    world.now += 400 * DAY
    world.days(3)
    found = run(world)
    assert found.braked is not None and "of 43 would go at once" in found.braked
    assert world.ledger().number == 0
    assert run(world, yes=True).braked is None and world.ledger().number == 1


def test_a_few_points_go_in_any_case(world: World) -> None:
    world.policy(daily="7", weekly="off")
    world.days(2)
    world.now += 400 * DAY
    world.days(3)
    assert [row[0] for row in ways(run(world))] == [1, 2]


def test_a_newest_point_that_looks_encrypted_needs_a_yes(world: World) -> None:
    world.policy(daily="7")
    world.now += 30 * DAY
    world.days(9)
    world.now += DAY // 2
    world.point(new_bytes=9 << 20, stored_bytes=9 << 20)
    world.now += DAY // 2
    found = run(world)
    assert found.braked is not None
    assert found.braked.startswith("90% of the newest point is new and can't be compressed")
    assert run(world, yes=True).braked is None


@pytest.mark.parametrize(
    ("new", "stored"), [(5 << 20, 5 << 20), (9 << 20, 4 << 20), (9 << 10, 9 << 10), (0, 0)], ids=str
)
def test_an_ordinary_newest_point_does_not(world: World, new: int, stored: int) -> None:
    world.policy(daily="7")
    world.now += 30 * DAY
    world.days(9)
    world.now += DAY // 2
    world.point(new_bytes=new, stored_bytes=stored)
    assert run(world).braked is None


# --- what is wrong costs its item -----------------------------------------------------------------------------


def test_points_that_vanished_stop_their_item(world: World) -> None:
    world.policy(daily="7")
    world.now += 30 * DAY
    names = world.days(12)
    world.now -= 12 * DAY
    world.days(12, OTHER)
    for name in names[2:4]:
        del world.memory.objects[str(name)]
    found = by_item(world)
    assert isinstance(found[ITEM].error, MissingData)
    assert str(found[ITEM].error).startswith("recovery points 3 to 4 of item 69696969 vanished from the vault")
    assert found[ITEM].rows == [] and world.ledger().number == 0
    assert len(found[OTHER].rows) == 5, "the others go on"
    accepted = [(3, 4)]
    Ledgers(world.vault).change(MACHINE, ITEM, lambda ledger: ledger.accept(accepted, 0), world.signer, world.now)
    assert [row[0] for row in ways(run(world))] == [1, 2, 5]


def test_a_malformed_ledger_stops_its_item(world: World) -> None:
    world.policy(daily="7")
    world.now += 30 * DAY
    world.days(12)
    name = ledger_folder(MACHINE, ITEM) + "00000001"
    world.memory.objects[name] = seal_signed(world.vault.keys, *world.signer, Kind.LEDGER, name, b"\xc1")
    found = run(world)
    assert isinstance(found.error, Damaged) and found.rows == []
    assert len(Ledgers(world.vault).keys) == 1 and len(world.memory.objects) > 12


def test_a_malformed_policy_keeps_all(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    world.policy(daily="7")
    world.now += 30 * DAY
    world.days(12)
    name = f"policies/{world.vault.id.hex()}/00000002"
    world.memory.objects[name] = seal_signed(world.vault.keys, *world.signer, Kind.RETENTION, name, b"\xc1")
    assert run(world) == Expiry(MACHINE, ITEM, [], 12)
    # One in the past may have kept anything: what goes since it was replaced is deleted softly.
    world.now += DAY
    name = f"policies/{world.vault.id.hex()}/00000003"
    record = Retention(id=world.vault.id, number=3, written=0, zone="UTC", daily=RetentionRule(keep=7))
    data = seal_signed(world.vault.keys, *world.signer, Kind.RETENTION, name, encode_retention(record))
    world.store.create(name, [data])
    assert {row[1:] for row in ways(run(world, yes=True))} == {(How.SHORTENED, 14)}


def test_ten_thousand_points(world: World) -> None:
    """An hour apart, of which most go at once."""
    world.policy(daily="30", weekly="52", monthly="60")
    world.now += 60 * DAY
    for _ in range(10_000):
        world.now += DAY // 24
        world.point()
    found = run(world, yes=True)
    assert 9_000 < len(found.rows) < 10_000 and found.kept + len(found.rows) == 10_000
    assert world.ledger().forgotten.keys() == {row.point for row in found.rows}
    assert point_id(10_000) not in world.ledger().forgotten
