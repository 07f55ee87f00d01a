"""Records of plans: which one counts, what junk and hostile ones cost, and this machine's copy of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catalog.access.settings import Settings
from catalog.errors import Damaged, LocalError, ObjectChanged, Unwritable
from catalog.format.numbers import HIGHEST_NUMBER, written_number
from catalog.format.plan import Care, Pause, PlanRecord, Schedule, decode_plan, encode_plan, plan_folder
from catalog.format.records import Item, ItemName, Machine
from catalog.format.sealed import Kind, open_object, seal_object
from catalog.machines.registry import Registration
from catalog.plans.effective import Level
from catalog.plans.local import LocalPlans, LocalVault
from catalog.plans.records import Plans, add_plan, next_record, refresh
from catalog.store.memory import MemoryStore
from catalog.vault import Vault, open_vault
from tests.kit.stores import MOST
from tests.kit.vaults import PASSPHRASE, new_vault

MACHINE, ITEM = b"m" * 16, b"i" * 16


@pytest.fixture
def vault() -> Vault:
    return new_vault(MemoryStore())


def put(vault: Vault, level: bytes, number: int, content: bytes) -> str:
    """Store content as a plan, whatever it is."""
    name = plan_folder(level) + written_number(number)
    vault.store.create(name, [seal_object(vault.keys, Kind.PLAN, name, content)])
    return name


def put_map(vault: Vault, level: bytes, number: int, **fields: Any) -> str:
    row = {"id": level, "number": number, "written": 1} | fields
    return put(vault, level, number, msgspec.msgpack.encode(row))


def level(vault: Vault, what: str = "machine", which: bytes = MACHINE) -> Level:
    return Plans(vault).level(what, "m", which)


def add(vault: Vault, **fields: Any) -> Level:
    now = level(vault)
    return add_plan(vault, now, next_record(now, **fields))


def test_each_change_is_a_record_and_the_newest_one_counts(vault: Vault) -> None:
    assert add(vault, zone="UTC", schedule=Schedule(times=[60])).number == 1
    assert add(vault, spread=5).number == 2
    found = level(vault)
    assert found.record is not None
    assert (found.number, found.record.zone, found.record.spread) == (2, "UTC", 5)
    assert found.record.by and found.record.written > 0
    assert level(vault, "item", ITEM).record is None
    assert Plans(vault).ids == [MACHINE]


def test_of_two_writers_one_succeeds(vault: Vault) -> None:
    one, other = level(vault), level(vault)
    add_plan(vault, one, next_record(one, spread=1))
    with pytest.raises(ObjectChanged, match="was changed by another run"):
        add_plan(vault, other, next_record(other, spread=2))
    found = level(vault).record
    assert found is not None and found.spread == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"spread": 10**6}, "spread"),
        ({"schedule": {"times": list(range(100))}}, "schedule.times"),
        ({"schedule": {"times": [2**63]}}, "schedule.times"),
        ({"paths": [b"/%06d" % n for n in range(50_000)]}, "paths"),
        ({"exclude": ["x" * 10_000]}, "exclude"),
        ({"throttle": [{"start": 0, "end": 0}]}, "throttle"),
        ({"paused": {"since": 2**64 - 1}}, "paused"),
        ({"zone": "../../etc/passwd"}, "zone"),
        ({"written": "yesterday"}, "written"),
    ],
)
def test_a_malformed_record_gives_way_to_the_one_before_it(
    vault: Vault, fields: dict[str, Any], field: str
) -> None:
    add(vault, spread=7)
    name = put_map(vault, MACHINE, 2, **fields)
    found = level(vault)
    assert found.record is not None and (found.number, found.record.spread) == (1, 7)
    (row,) = vault.passed_over.rows("plans/")
    assert row.name == name and not row.lost and field in str(row.error)
    assert add(vault, grace=9).number == 3, "the number is taken"
    found = level(vault)
    assert found.record is not None and (found.record.spread, found.record.grace) == (7, 9)


def test_a_level_without_any_record_that_opens_is_said(vault: Vault) -> None:
    vault.store.create(plan_folder(MACHINE) + written_number(4), [b"junk"])
    assert level(vault).record is None
    (error,) = vault.passed_over.lost("plans/")
    assert isinstance(error, Damaged)
    assert add(vault, spread=7).number == 1


def test_who_hides_a_plan_or_takes_its_last_number_is_named(vault: Vault) -> None:
    add(vault, spread=7)
    for number in range(2, 103):
        vault.store.create(plan_folder(MACHINE) + written_number(number), [b"junk"])
    hidden = level(vault)
    assert (hidden.record, hidden.highest) == (None, 102)
    with pytest.raises(Unwritable, match="taken by objects that are none") as caught:
        add_plan(vault, hidden, next_record(hidden, spread=9))
    assert plan_folder(MACHINE) in caught.value.advice
    put_map(vault, ITEM, HIGHEST_NUMBER, stopped={"since": 1, "keep": True})
    last = level(vault, "item", ITEM)
    assert last.number == HIGHEST_NUMBER
    with pytest.raises(Unwritable, match="the highest number that there is") as caught:
        add_plan(vault, last, next_record(last, stopped=None))
    assert str(written_number(HIGHEST_NUMBER)) in caught.value.advice


def test_junk_under_high_numbers_costs_nothing(vault: Vault) -> None:
    add(vault, spread=7)
    for number in (2, 3, HIGHEST_NUMBER, HIGHEST_NUMBER - 1):
        vault.store.create(plan_folder(MACHINE) + written_number(number), [os.urandom(80)])
    assert add(vault, spread=8).number == 4
    found = level(vault).record
    assert found is not None and found.spread == 8


def test_more_junk_than_a_reader_looks_at_is_said(vault: Vault) -> None:
    add(vault, spread=7)
    for number in range(2, 102):
        vault.store.create(plan_folder(MACHINE) + written_number(number), [b"junk"])
    assert level(vault).record is None
    assert len(vault.passed_over.lost("plans/")) == 100
    with pytest.raises(Unwritable, match="100 numbers"):
        add_plan(vault, Level("machine", "m", MACHINE, 1), PlanRecord(id=MACHINE, number=0, written=0))


def test_a_plan_of_another_level_is_none(vault: Vault) -> None:
    content = encode_plan(PlanRecord(id=ITEM, number=1, written=0, spread=3))
    put(vault, MACHINE, 1, content)
    assert level(vault).record is None


def test_fields_of_later_versions_are_kept(vault: Vault) -> None:
    put_map(
        vault,
        MACHINE,
        1,
        spread=7,
        later={"a": [1]},
        prune={"every": 24, "later": "x"},
        check_1={"every": 1, "z": 0},
    )
    changed = add(vault, spread=8, check_1=Care(every=2))
    name = plan_folder(MACHINE) + written_number(changed.number)
    data = open_object(vault.keys, Kind.PLAN, name, vault.store.get(name, MOST))
    raw = decode_plan(data, name).raw
    assert raw["later"] == {"a": [1]}
    assert raw["prune"] == {"every": 24, "later": "x"}
    assert raw["check_1"] == {"every": 2}, "a field that is replaced takes along what is in it"
    assert raw["spread"] == 8


# --- this machine's copy ------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path, vault: Vault) -> Path:
    """The state folder of a machine that is registered in the vault and has two items."""
    folder = tmp_path / "state"
    folder.mkdir()
    vault.add_machine(Machine(id=MACHINE, name="srv01", hostname="h", system="Linux", created=1))
    for name, which in (("home", ITEM), ("by hand", b"j" * 16)):
        vault.add_item(Item(id=which, machine=MACHINE, name=name, paths=[b"/home"], created=1))
    Registration(MACHINE.hex(), "srv01").save(folder, vault)
    return folder


def settings_of(state: Path) -> Settings:
    return Settings({"RPDRIVE_HOME": str(state.parent)})


def of_item(vault: Vault, **fields: Any) -> None:
    now = level(vault, "item", ITEM)
    add_plan(vault, now, next_record(now, **fields))


def test_the_copy_has_what_this_machine_is_to_do(vault: Vault, state: Path) -> None:
    add(vault, zone="UTC", schedule=Schedule(times=[60]), check_1=Care(every=168), paths=[b"/ignored"])
    of_item(vault, paths=[b"/home"], spread=1)
    made = refresh(vault, "file:///v", settings_of(state))
    assert made is not None
    found = LocalPlans(state).all()
    assert found.errors == [] and [msgspec.structs.replace(made, check="")] == [
        msgspec.structs.replace(found.vaults[0], check="")
    ]
    assert (made.vault, made.machine, made.machine_name) == (vault.id.hex(), MACHINE.hex(), "srv01")
    (item,) = made.items
    assert (item.name, item.plan.paths, item.plan.zone, item.plan.spread) == ("home", (b"/home",), "UTC", 1)
    assert made.plan.check_1.every == 168 and made.plan.paths == ()
    assert made.numbers == {MACHINE.hex(): 1, ITEM.hex(): 1}
    assert item.plan.origins["schedule"] == "machine srv01" and item.plan.origins["spread"] == "item home"


def test_the_time_from_which_it_counts_stays_until_protection_is_stopped(vault: Vault, state: Path) -> None:
    of_item(vault, paths=[b"/home"], schedule=Schedule(times=[60]))
    first = refresh(vault, "v", settings_of(state))
    assert first is not None and first.items[0].since == first.fetched
    first.items[0].since = first.since = 5
    LocalPlans(state).save(first)
    of_item(vault, exclude=["*.tmp"])
    second = refresh(vault, "v", settings_of(state))
    assert second is not None and second.items[0].since == second.since == 5
    of_item(vault, schedule=None)
    refresh(vault, "v", settings_of(state))
    of_item(vault, schedule=Schedule(times=[60]))
    third = refresh(vault, "v", settings_of(state))
    assert third is not None and third.items[0].since == third.fetched and third.since == 5


def test_a_plan_that_no_longer_opens_leaves_the_copy_as_it_was(vault: Vault, state: Path) -> None:
    of_item(vault, paths=[b"/home"], schedule=Schedule(times=[60]))
    refresh(vault, "v", settings_of(state))
    name = plan_folder(ITEM) + written_number(1)
    assert isinstance(vault.store, MemoryStore)
    vault.store.objects[name] = b"x" * 90
    made = refresh(vault, "v", settings_of(state))
    assert made is not None and [i.name for i in made.items] == ["home"]
    assert len(made.faults) == 1 and name in made.faults[0]
    assert LocalPlans(state).all().vaults[0].items == made.items


def test_plans_that_are_too_large_cost_themselves(vault: Vault, state: Path) -> None:
    of_item(vault, paths=[b"/home"], schedule=Schedule(times=[60]))
    large = ["x" * 4_000] * 800
    for n in range(2):
        which = bytes([n]) * 16
        vault.add_item(Item(id=which, machine=MACHINE, name=f"large {n}", paths=[b"/x"], created=1))
        put_map(vault, which, 1, paths=[b"/x"], exclude=large)
    made = refresh(vault, "v", settings_of(state))
    assert made is not None and len(made.items) == 2 and made.items[0].name == "home"
    assert [fault for fault in made.faults if "is too large" in fault]
    assert LocalPlans(state).all().errors == []


def test_junk_where_no_plan_was_stops_no_change(vault: Vault, state: Path) -> None:
    of_item(vault, paths=[b"/home"], schedule=Schedule(times=[60]))
    refresh(vault, "v", settings_of(state))
    for junk in (vault.id, MACHINE, b"j" * 16):
        vault.store.create(plan_folder(junk) + written_number(1), [b"junk"])
    of_item(vault, spread=7)
    made = refresh(vault, "v", settings_of(state))
    assert made is not None and made.items[0].plan.spread == 7 and len(made.faults) == 3


def test_an_item_whose_own_record_no_longer_opens_is_backed_up_as_before(vault: Vault, state: Path) -> None:
    of_item(vault, paths=[b"/home"], schedule=Schedule(times=[60]))
    refresh(vault, "v", settings_of(state))
    assert isinstance(vault.store, MemoryStore)
    vault.store.objects[str(ItemName(MACHINE, ITEM, 1))] = b"junk"
    of_item(vault, spread=7)
    fresh = open_vault(vault.store, passphrase=PASSPHRASE)
    made = refresh(fresh, "v", settings_of(state))
    assert made is not None and [(i.name, i.plan.spread) for i in made.items] == [("home", 7)]


def test_a_machine_that_is_not_registered_has_no_plans(vault: Vault, tmp_path: Path) -> None:
    assert refresh(vault, "v", settings_of(tmp_path / "state")) is None
    assert LocalPlans(tmp_path / "state").all() == ([], [])


def test_a_malformed_copy_costs_only_itself(vault: Vault, state: Path) -> None:
    of_item(vault, paths=[b"/home"])
    refresh(vault, "v", settings_of(state))
    folder = state / "plans"
    (good,) = folder.iterdir()
    data = good.read_bytes()
    (folder / ("ab" * 16 + ".json")).write_bytes(data)
    (folder / "junk.json").write_bytes(b"[" * 100_000)
    (folder / "other.txt").write_bytes(b"x")
    found = LocalPlans(state).all()
    assert [v.vault for v in found.vaults] == [vault.id.hex()]
    assert all(isinstance(e, LocalError) and "rpdrive plan refresh" in e.advice for e in found.errors)
    assert len(found.errors) == 2
    good.write_bytes(data.replace(b"srv01", b"srv02"))
    assert LocalPlans(state).all().vaults == []
    with pytest.raises(LocalError, match="it has been changed"):
        LocalPlans(state).of(vault.id)
    assert refresh(vault, "v", settings_of(state)) is not None, "it is written anew"
    assert LocalPlans(state).remove(vault.id) and not LocalPlans(state).remove(vault.id)
    assert LocalPlans(state).of(vault.id) is None


def test_this_machine_says_which_paths_it_saves(vault: Vault, state: Path) -> None:
    of_item(vault, paths=[b"/etc/shadow", b"/home/anna", b"/homes", b"/srv/../etc"])
    config = state.parent / "config"
    config.mkdir(mode=0o700)
    file = config / "plans.toml"
    file.write_text('only_below = ["/home/", "/srv"]\n')
    file.chmod(0o600)
    made = refresh(vault, "v", settings_of(state))
    assert made is not None and made.items[0].plan.paths == (b"/home/anna",)
    assert [fault.split("'")[1] for fault in made.faults] == ["/etc/shadow", "/homes", "/srv/../etc"]
    of_item(vault, paths=[b"/"])
    made = refresh(vault, "v", settings_of(state))
    assert made is not None and made.items == [] and "does not allow '/'" in made.faults[0]
    file.write_text('only_below = ["/"]\n')
    made = refresh(vault, "v", settings_of(state))
    assert made is not None and made.items[0].plan.paths == (b"/",) and made.faults == []


def test_a_link_does_not_lead_out_of_what_is_allowed(vault: Vault, state: Path) -> None:
    home = state.parent / "home"
    (home / "anna").mkdir(parents=True)
    (home / "link").symlink_to("/etc")
    config = state.parent / "config"
    config.mkdir(mode=0o700)
    (config / "plans.toml").write_text(f'only_below = ["{home}"]\n')
    (config / "plans.toml").chmod(0o600)
    of_item(vault, paths=sorted(os.fsencode(home / name) for name in ("anna", "link", "link/ssh")))
    made = refresh(vault, "v", settings_of(state))
    assert made is not None and made.items[0].plan.paths == (os.fsencode(home / "anna"),)


BAD_FILES = [
    "",
    "only_below = '/x'\n",
    "only_below = [3]\n",
    "only_below = ['x']\n",
    "x = [",
    "only_below = []\nx = 1\n",
]


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_bad_file_of_this_machine_lets_nothing_be_saved(vault: Vault, state: Path, text: str) -> None:
    of_item(vault, paths=[b"/home"])
    config = state.parent / "config"
    config.mkdir(mode=0o700)
    (config / "plans.toml").write_text(text)
    (config / "plans.toml").chmod(0o600)
    made = refresh(vault, "v", settings_of(state))
    assert made is not None and made.items == [] and "nothing is backed up: " in made.faults[0]
    (config / "plans.toml").write_text("only_below = ['/home']\n")
    (config / "plans.toml").chmod(0o666)
    made = refresh(vault, "v", settings_of(state))
    assert made is not None and made.items == [] and "may be changed by other users" in made.faults[0]


def test_the_copy_is_private(vault: Vault, state: Path) -> None:
    of_item(vault, paths=[b"/home"], paused=Pause(since=1))
    refresh(vault, "v", settings_of(state))
    (path,) = (state / "plans").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_copy_with_every_field_is_read_as_it_was_written(tmp_path: Path) -> None:
    from catalog.plans.effective import effective
    from tests.kit.golden_plans import WHOLE

    plan = effective([Level("item", "i", WHOLE.id, 1, WHOLE)])
    made = LocalVault(vault="00" * 16, address="a", machine="m", machine_name="n", fetched=1, plan=plan)
    LocalPlans(tmp_path).save(made)
    (found,) = LocalPlans(tmp_path).all().vaults
    assert found.plan == plan
