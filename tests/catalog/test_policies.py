"""Policies: how rules are written, what may be set, whose word counts, and how records are stored."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from catalog.errors import Damaged, LocalError, Locked, NewerFormat, ObjectChanged, UsageError
from catalog.format.admins import make_admin
from catalog.format.numbers import written_number
from catalog.format.retention import Retention, RetentionRule, decode_retention, encode_retention, policy_folder
from catalog.format.sealed import Kind
from catalog.format.vaultfile import Immutable
from catalog.policies.records import Policies, add_retention
from catalog.policies.setting import changed, check, read_fields
from catalog.policies.zone import local_zone
from catalog.retention.decide import Fact
from catalog.retention.forecast import forecast
from catalog.retention.policy import Level, Policy, effective
from catalog.retention.slots import DAY, SECOND, Unit
from catalog.retention.wording import parse_rule, rule_text
from catalog.signing import signing_key
from catalog.vault import Vault, open_vault
from tests.catalog.test_retention_slots import at, rules
from tests.kit.faults import StopAtStore, Stopped
from tests.kit.format_values import MANY
from tests.kit.vaults import CHEAP, PASSPHRASE, Remote

MACHINE, ITEM = b"m" * 16, b"i" * 16

# --- wording ------------------------------------------------------------------------------------------------

TEXTS = [
    (Unit.DAILY, "30", "30 days"),
    (Unit.DAILY, "7d at 18:00 and 0:00", "7 days at 00:00, 18:00"),
    (Unit.WEEKLY, "4", "4 weeks on monday"),
    (Unit.WEEKLY, "4 weeks on Sun, sat at 00:00,18:00", "4 weeks on saturday, sunday at 00:00, 18:00"),
    (Unit.MONTHLY, "12", "12 months on day 1"),
    (Unit.MONTHLY, "12 on day 15, 1", "12 months on day 1, 15"),
    (Unit.MONTHLY, "12 on days 1 and last", "12 months on day 1, last"),
    (Unit.MONTHLY, "12 months on last day", "12 months on last day"),
    (Unit.MONTHLY, "12 on first,third monday tuesday", "12 months on first, third monday, tuesday"),
    (Unit.YEARLY, "10", "10 years on day 1 of january"),
    (Unit.YEARLY, "1 year on last saturday of mar at 18:00", "1 year on last saturday of march at 18:00"),
    (Unit.YEARLY, "off", "off"),
]


@pytest.mark.parametrize(("unit", "text", "plain"), TEXTS)
def test_rules_are_read_and_written(unit: Unit, text: str, plain: str) -> None:
    assert rule_text(unit, parse_rule(unit, text)) == plain
    assert parse_rule(unit, plain) == parse_rule(unit, rule_text(unit, parse_rule(unit, plain)))


@settings(MANY)
@given(rules(), st.integers(0, 99))
def test_every_rule_is_read_as_it_is_written(made: tuple[Unit, RetentionRule], keep: int) -> None:
    unit, rule = made
    rule = replace(rule, keep=keep)
    text = rule_text(unit, rule)
    assert rule_text(unit, parse_rule(unit, text)) == text


BAD = [
    (Unit.DAILY, "", "not a number"),
    (Unit.DAILY, "many", "not a number"),
    (Unit.DAILY, "-7", "not a number"),
    (Unit.DAILY, "7 weeks", "its unit is days"),
    (Unit.DAILY, "0", "from 1 to 9,999"),
    (Unit.DAILY, "10000", "from 1 to 9,999"),
    (Unit.DAILY, "999999999", "from 1 to 9,999"),
    (Unit.DAILY, "7 on monday", "has no days"),
    (Unit.DAILY, "7 at 24:00", "'24:00' is not a time"),
    (Unit.DAILY, "7 at noon", "'noon' is not a time"),
    (Unit.DAILY, "7 at " + ",".join(f"00:{m:02}" for m in range(25)), "more than 24"),
    (Unit.WEEKLY, "4 on caturday", "'caturday' is not a weekday"),
    (Unit.WEEKLY, "4 on t", "'t' is not a weekday"),
    (Unit.WEEKLY, "5164", "from 1 to 5,163"),
    (Unit.WEEKLY, "4 of march", "has no months"),
    (Unit.MONTHLY, "12 on saturday", "come weeks and weekdays"),
    (Unit.MONTHLY, "12 on last", "come weeks and weekdays"),
    (Unit.MONTHLY, "12 on day 32", "'32' is not a day from 1 to 31"),
    (Unit.MONTHLY, "12 on day", "come weeks and weekdays"),
    (Unit.MONTHLY, "12 on last saturday day 1", "'day' is not a weekday"),
    (Unit.MONTHLY, "12 of march", "has no months"),
    (Unit.YEARLY, "10 of smarch", "'smarch' is not a month"),
    (Unit.YEARLY, "100", "from 1 to 99"),
]


@pytest.mark.parametrize(("unit", "text", "why"), BAD)
def test_what_is_wrong_with_a_rule_is_said(unit: Unit, text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as raised:
        parse_rule(unit, text)
    assert raised.value.advice.startswith("write e.g. ")


# --- what may be set ------------------------------------------------------------------------------------------

VAULT = Level("vault", "", b"v" * 16)


def given_fields(**options: str) -> dict[str, Any]:
    return dict(read_fields(None, options))


def checked(
    *levels: Level,
    immutable: int = 0,
    old: Policy = Policy(),
    locked: bool = False,
    short: bool = False,
    **options: str,
) -> Policy:
    fields = given_fields(**options)
    new = [changed(levels[0], fields), *levels[1:]]
    return check(new, fields, old, immutable, locked=locked, short=short)


def test_fields_from_a_file_and_options(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('zone = "UTC"\ndaily = 30\nweekly = "4 on sunday"\nlast = "off"\nerase_after = "inherit"\n')
    assert read_fields(file, {"daily": "60 days", "hourly": "48 hours", "yearly": None}) == {
        "zone": "UTC",
        "daily": RetentionRule(keep=60),
        "weekly": RetentionRule(keep=4, weekdays=[7]),
        "last": 0,
        "hourly": 48,
        "erase_after": None,
    }
    assert read_fields(None, {"daily": None}) == {}
    with pytest.raises(UsageError, match="no field is given"):
        read_fields(None, {"daily": None}, needed=True)
    for text, why in (
        ("quarterly = 3", "unknown field 'quarterly'"),
        ("daily = true", "neither a text nor a number"),
        ("daily = [7]", "neither a text nor a number"),
        ("daily = ", "is not TOML"),
        ("x" * 70_000, "too long"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=why):
            read_fields(file, {})
    with pytest.raises(LocalError, match="can't be read"):
        read_fields(tmp_path / "none.toml", {})


@pytest.mark.parametrize(
    ("field", "text"), [("last", "0"), ("last", "10000"), ("hourly", "5 days"), ("erase_after", "soon")]
)
def test_numbers_have_bounds(field: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"^{field} '{text}' is not a number of"):
        given_fields(**{field: text})


def test_the_first_policy_takes_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", ":America/Argentina/Buenos_Aires")
    assert str(checked(VAULT, daily="30").zone) == "America/Argentina/Buenos_Aires"
    with pytest.raises(UsageError, match="the policy has no time zone"):
        checked(Level("machine", "m", MACHINE), VAULT, daily="30")
    monkeypatch.setattr("catalog.policies.setting.local_zone", lambda: None)
    with pytest.raises(UsageError, match="does not say in which time zone it is"):
        checked(VAULT, daily="30")


def test_the_zone_of_this_machine(tmp_path: Path) -> None:
    link, name, none = tmp_path / "localtime", tmp_path / "timezone", tmp_path / "none"
    link.symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    name.write_text("Asia/Kolkata\n")
    assert local_zone({"TZ": "UTC"}, link, name) == "UTC"
    assert local_zone({"TZ": "CET-1CEST"}, link, name) == "Europe/Berlin"
    assert local_zone({}, none, name) == "Asia/Kolkata"
    assert local_zone({}, none, none) is None


def test_what_must_not_be_set() -> None:
    for options, why in (
        ({"zone": "UTC", "daily": "6"}, "daily 6 is less than 7 days"),
        ({"daily": "7", "weekly": "3"}, "weekly 3 is less than 4 weeks"),
        ({"monthly": "2"}, "monthly 2 is less than 3 months"),
        ({"daily": "7", "erase_after": "6"}, "erase_after 6 is less than 7 days"),
        ({"last": "5"}, "no rule by which points are kept"),
        ({"daily": "off"}, "no rule by which points are kept"),
    ):
        with pytest.raises(UsageError, match=why):
            fields = given_fields(**options)
            check([changed(VAULT, fields)], fields, Policy(), 0, locked=False, short=False)
    assert checked(VAULT, zone="UTC", daily="1", short=True).rules == {Unit.DAILY: RetentionRule(keep=1)}
    with pytest.raises(UsageError, match="less than the 90 days for which this vault is immutable"):
        checked(VAULT, immutable=90, zone="UTC", daily="30", erase_after="60")


def test_a_locked_vault_takes_no_policy_that_keeps_less() -> None:
    old = effective([changed(VAULT, given_fields(zone="UTC", daily="30", last="5"))])
    with pytest.raises(UsageError, match="locked as immutable, and the policy would keep less: daily"):
        checked(VAULT, old=old, locked=True, zone="UTC", daily="29", last="5")
    checked(VAULT, old=old, locked=True, zone="UTC", daily="31", last="5")
    checked(VAULT, old=old, zone="UTC", daily="29", last="5")


# --- records --------------------------------------------------------------------------------------------------


class World:
    """A vault with a policy at its level, and machine and item of which nothing is known."""

    def __init__(self) -> None:
        self.remote = Remote()
        self.vault = self.remote.vault
        self.set(self.vault.id, zone="UTC", daily="30", weekly="4")

    def level(self, level: bytes, vault: Vault | None = None) -> Level:
        return Policies(vault or self.vault).level("vault" if level == self.vault.id else "item", "x", level)

    def set(self, level: bytes, vault: Vault | None = None, **options: str) -> int:
        now = self.level(level, vault)
        new = changed(now, given_fields(**options))
        assert new.record is not None
        return add_retention(vault or self.vault, now, new.record, new.unknown)

    def sign(self, level: bytes, number: int, content: bytes) -> None:
        admin, private = signing_key(self.vault)
        after = number - 1
        added = self.vault.signed.add(Kind.RETENTION, policy_folder(level), content, admin, private, after=after)
        assert added == number


@pytest.fixture
def world() -> World:
    return World()


def test_levels_are_read_with_one_listing_and_one_request_each(world: World) -> None:
    world.set(ITEM, daily="60")
    world.set(world.vault.id, daily="40")
    opened = world.remote.opened()
    before = world.remote.requests
    policies = Policies(opened)
    assert world.remote.requests - before == 1
    for _ in range(2):
        policy = policies.policy(MACHINE, ITEM)
        assert policy.rules == {Unit.DAILY: RetentionRule(keep=60), Unit.WEEKLY: RetentionRule(keep=4)}
        assert world.remote.requests - before == 3
    assert policies.policy(MACHINE, b"other" * 3 + b"!").rules[Unit.DAILY].keep == 40
    assert world.remote.requests - before == 3
    assert {name: (o.what, o.number) for name, o in policy.origins.items()} == {
        "zone": ("vault", 2), "daily": ("item", 1), "weekly": ("vault", 2),
    }  # fmt: skip


def test_a_number_taken_by_junk_is_in_the_record_that_follows_it(world: World) -> None:
    name = policy_folder(ITEM)
    world.remote.memory.objects |= {name + written_number(n): b"junk" for n in (1, 2, 7)}
    assert world.set(ITEM, daily="60") == 3
    level = world.level(ITEM)
    assert level.record is not None and (level.number, level.record.number) == (3, 3)


def test_a_policy_that_may_not_be_the_newest_lets_nothing_go(world: World) -> None:
    name = policy_folder(ITEM)
    world.set(ITEM, daily="60", zone="UTC")
    assert not Policies(world.vault).policy(MACHINE, ITEM).unknown
    world.remote.memory.objects[name + written_number(2)] = b"it was damaged"
    assert Policies(world.vault).policy(MACHINE, ITEM).unknown == ("a record that can't be read",)
    assert "00000002 does not open" in str(world.vault.passed_over.lost(name))


def test_of_two_admins_who_set_at_once_one_succeeds(world: World) -> None:
    stale = world.level(ITEM)
    world.set(ITEM, daily="60")
    new = changed(stale, given_fields(daily="70"))
    assert new.record is not None
    with pytest.raises(ObjectChanged, match="added by another run"):
        add_retention(world.vault, stale, new.record, new.unknown)


def test_what_no_admin_signed_does_not_count(world: World, caplog: pytest.LogCaptureFixture) -> None:
    from catalog.format.sealed import seal_object

    name = policy_folder(world.vault.id) + written_number(2)
    record = Retention(id=world.vault.id, number=2, written=0, zone="UTC", daily=RetentionRule(keep=1))
    world.remote.memory.objects[name] = seal_object(
        world.vault.keys, Kind.RETENTION, name, encode_retention(record)
    )
    with caplog.at_level(logging.WARNING):
        assert world.level(world.vault.id).number == 1
    assert "is passed over" in caplog.text


def test_a_malformed_record_keeps_everything_and_no_earlier_one_counts(world: World) -> None:
    row = {"id": ITEM, "number": 2, "written": 0, "daily": {"keep": 10_000}}
    world.set(ITEM, daily="60")
    world.sign(ITEM, 2, msgspec.msgpack.encode(row))
    policies = Policies(world.vault)
    assert policies.policy(MACHINE, ITEM).unknown == ("a record that can't be read",)
    assert policies.policy(MACHINE, b"another item....").unknown == ()
    (error,) = world.vault.passed_over.lost("policies/")
    assert isinstance(error, Damaged)
    assert "00000002 is malformed in the field daily.keep" in str(error)
    again = changed(world.level(ITEM), given_fields(daily="90"), anew=True)
    assert again.record is not None
    assert add_retention(world.vault, world.level(ITEM), again.record, again.unknown) == 3
    assert Policies(world.vault).policy(MACHINE, ITEM).rules[Unit.DAILY].keep == 90


def test_fields_of_a_later_version_are_kept(world: World) -> None:
    row = {"id": ITEM, "number": 1, "written": 0, "quarterly": {"keep": 2}, "daily": {"keep": 9, "shift": 1}}
    world.sign(ITEM, 1, msgspec.msgpack.encode(row))
    assert Policies(world.vault).policy(MACHINE, ITEM).unknown == ("daily.shift", "quarterly")
    world.set(ITEM, weekly="5")
    assert world.level(ITEM).unknown == {"daily.shift": 1, "quarterly": {"keep": 2}}
    world.set(ITEM, daily="10")
    assert world.level(ITEM).unknown == {"quarterly": {"keep": 2}}
    content = encode_retention(Retention(id=ITEM, number=4, written=0), {"daily.shift": 1, "new": None})
    assert decode_retention(content, policy_folder(ITEM) + "00000004").unknown == {"new": None}


def test_a_vault_without_an_admin_gets_one(world: World) -> None:
    world.vault.change_file(lambda file: replace(file, admins=()))
    vault = world.remote.opened()
    assert vault.file.admins == ()
    assert Policies(vault).of_vault().number == 0, "nobody's signature counts"
    stale = world.remote.opened()
    assert world.set(ITEM, vault, daily="60") == 1
    (admin,) = world.remote.opened().file.admins
    assert admin.wrapped
    assert Policies(world.remote.opened()).level("item", "", ITEM).number == 1
    assert Policies(vault).level("item", "", ITEM).number == 1, "the vault that is open knows the new admin"
    assert world.set(ITEM, vault, daily="70") == 2
    assert len(world.remote.opened().file.admins) == 1
    assert signing_key(world.remote.opened())[0] == admin
    assert stale.file.admins == ()


@pytest.mark.parametrize("after", [False, True])
def test_setting_a_policy_that_is_stopped_at_any_call_can_be_set_again(world: World, after: bool) -> None:
    """In a vault without an admin: a copy of vault.json, vault.json itself, then the record."""
    world.vault.change_file(lambda file: replace(file, admins=()))
    before = dict(world.remote.memory.objects)
    for call in range(1, 8):
        world.remote.memory.objects.clear()
        world.remote.memory.objects |= before
        vault = world.remote.opened()
        store = StopAtStore(vault.store, call, after=after, kinds=("create", "replace"))
        stopping = Vault(store, vault.keys, vault.file)
        try:
            world.set(ITEM, stopping, daily="60")
        except Stopped:
            again = world.remote.opened()
            assert world.set(ITEM, again, daily="60") in (1, 2)
        opened = world.remote.opened()
        assert Policies(opened).level("item", "", ITEM).record is not None
        assert len(opened.file.admins) == 1
        if not store.stopped:
            break
    assert call == 4


def test_an_admin_with_a_passphrase_of_its_own_is_asked_for_it(world: World) -> None:
    keys = world.vault.keys
    locked = make_admin(keys, b"p" * 32, "now", "the admin's own passphrase", kdf=CHEAP)
    world.vault.change_file(lambda file: replace(file, admins=(locked, *file.admins)))
    assert signing_key(world.vault)[0].wrapped, "one that the master key opens comes first"
    world.vault.change_file(lambda file: replace(file, admins=(locked,)))
    with pytest.raises(Locked, match="needs a passphrase of its own"):
        signing_key(world.vault)
    unknown = replace(locked, slot=None)
    world.vault.file = replace(world.vault.file, admins=(unknown,))
    with pytest.raises(NewerFormat):
        signing_key(world.vault)


def test_an_immutable_vault_keeps_its_points(world: World) -> None:
    world.vault.change_file(lambda file: replace(file, immutable=Immutable(90, False)))
    vault = open_vault(world.remote.meter, passphrase=PASSPHRASE)
    assert Policies(vault).policy(MACHINE, ITEM).immutable == 90


# --- forecast ---------------------------------------------------------------------------------------------------


def daily_points(first: str, count: int) -> list[Fact]:
    start = at(first)
    return [Fact(bytes([n]), n, start + n * DAY, start + n * DAY + SECOND) for n in range(1, count + 1)]


def test_what_goes_now_and_on_each_day_to_come() -> None:
    policy = checked(VAULT, zone="UTC", daily="7", weekly="4")
    made = daily_points("2026-06-01 08:00", 20)
    now = at("2026-06-21 12:00")
    going, left = forecast(made, policy, [], now, 90)
    assert sorted(d.point.sequence for _day, gone in going for d in gone) == list(range(1, 21))
    assert left == 0
    shown = [(None if day is None else str(day), [d.point.sequence for d in gone]) for day, gone in going]
    # Points 7 and 14 are of Mondays; the first one stands in for that of 1 June. 12 is that of 13 June.
    assert shown == [
        (None, [2, 3, 4, 5, 6, 8, 9, 10, 11, 12]),
        ("2026-06-22", [13]),
        ("2026-06-24", [15]),
        ("2026-06-25", [16]),
        ("2026-06-26", [17]),
        ("2026-06-27", [18]),
        ("2026-06-28", [19]),
        ("2026-06-29", [20]),
        ("2026-06-30", [1]),
        ("2026-07-07", [7]),
        ("2026-07-14", [14]),
    ]
    assert forecast(made, policy, [], now, 0)[0] == going[:1]


def test_a_forecast_of_a_machine_that_was_off_supposes_that_it_runs_again() -> None:
    policy = checked(VAULT, zone="UTC", daily="7")
    made = daily_points("2026-01-01 08:00", 10)
    going, left = forecast(made, policy, [], at("2026-06-21 12:00"), 3)
    assert [(str(day), len(gone)) for day, gone in going] == [("None", 4), ("2026-06-23", 6)]
    assert left == 0
    assert forecast([], policy, [], at("2026-06-21 12:00"), 3) == ([], 0)
    assert forecast(made, Policy(), [], at("2026-06-21 12:00"), 3) == ([], 10)
