"""`rpdrive vault cost`: what it looks at and what that takes, the model, --what-if, text and JSON."""

from __future__ import annotations

import json
import os
import random
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catalog.cost import look as looking
from catalog.cost.counts import Shape
from catalog.cost.habits import habits_of, runs_of
from catalog.cost.look import look
from catalog.cost.model import Habits, Keeps, ages, estimate, grown, planned
from catalog.cost.money import MONTH
from catalog.cost.places import priced
from catalog.cost.prices import FILE, load, parse, shipped
from catalog.cost.show import PLANNED
from catalog.cost.whatif import KEYS
from catalog.cost.whatif import parse as changes_of
from catalog.errors import UsageError
from catalog.format.plan import Care, Schedule
from catalog.format.retention import RetentionRule
from catalog.plans.records import Plans, add_plan, next_record
from catalog.retention.decide import Fact, decide
from catalog.retention.policy import Policy
from catalog.retention.slots import Unit
from catalog.store import wrapper
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault, open_vault
from tests.catalog.cost.worked import ADDRESS, Worked
from tests.kit.cli import Cli
from tests.kit.vaults import PASSPHRASE, new_vault

DAY = 86_400 * 10**9
LRS_HOT = shipped().tariff("azure", "westeurope", "LRS", "hot")


# --- the model ----------------------------------------------------------------------------------------------------


def test_points_of_a_policy_and_the_data_that_they_need() -> None:
    habits = Habits(backups=MONTH, keeps=Keeps(daily=30, weekly=8, monthly=6))
    found = ages(habits)
    assert found[:32] == [*map(float, range(30)), MONTH, 35.0]
    assert found == sorted(found) and len(found) == 30 + 3 + 5
    assert ages(Habits(backups=MONTH / 2), 3) == [0.0, 2.0, 4.0]
    assert grown([0.0], 0.5) == 1
    assert grown([0.0, 1.0, 2.0], 0.5) == 2
    assert grown(range(1_000), 0.01) == pytest.approx(1 + 999 * 0.01)
    assert grown([0.0, 10_000.0], 0.01) == pytest.approx(2), "all of it has changed"


def test_the_growth_of_the_model_is_that_of_files_that_change_at_random() -> None:
    """1,000 files, 2 % of them anew each day, kept by a policy: as many versions as the model says, within 5 %."""
    rng, version = random.Random(5), [0] * 1_000
    days = ages(Habits(backups=MONTH, keeps=Keeps(daily=14, weekly=8, monthly=6)))
    kept, seen = {round(max(days) - age) for age in days}, set[tuple[int, int]]()
    for day in range(round(max(days)) + 1):
        for file in range(1_000):
            version[file] += rng.random() < 0.02
        if day in kept:
            seen.update(enumerate(version))
    assert len(seen) == pytest.approx(1_000 * grown(days, 0.02), rel=0.05)


def test_money_grows_with_machines_and_falls_with_what_is_left_out() -> None:
    def month(habits: Habits, machines: float = 10, leaves: bool = True) -> float:
        shape = planned(machines=machines, items=1, size=5e10, files=1e5, ratio=0.7, habits=habits)
        return estimate(shape, habits, LRS_HOT, leaves=leaves, new=None).total.bill.total

    assert month(PLANNED, 100) == pytest.approx(10 * month(PLANNED), rel=0.1)
    for name in ("check_1", "check_2", "prunes", "tests", "backups"):
        assert month(msgspec.structs.replace(PLANNED, **{name: 0.0})) < month(PLANNED), name
    assert month(PLANNED, leaves=False) < month(PLANNED)
    everybody = msgspec.structs.replace(PLANNED, doers=10.0)
    assert month(everybody) > 2 * month(PLANNED), "ten machines that each check the whole vault"


def test_what_goes_too_soon_is_paid_for_in_cool_and_cold() -> None:
    habits = msgspec.structs.replace(PLANNED, keeps=Keeps(daily=7))
    shape = planned(machines=1, items=1, size=1e11, files=1e5, ratio=1, habits=habits)
    lines = {}
    for tier in ("hot", "cool", "cold"):
        tariff = shipped().tariff("azure", "westeurope", "LRS", tier)
        found = {line.name: line.bill for line in estimate(shape, habits, tariff, leaves=True, new=(1e10, 0)).month}
        lines[tier] = found.get("early deletion")
    assert lines["hot"] is None and lines["cool"] is not None and lines["cold"] is not None
    assert lines["cool"].early == pytest.approx(1e10 / 2**30 * 0.01 * 23 / MONTH)
    assert lines["cold"].early == pytest.approx(1e10 / 2**30 * 0.0045 * 83 / MONTH)
    long = msgspec.structs.replace(habits, keeps=Keeps(daily=365))
    tariff = shipped().tariff("azure", "westeurope", "LRS", "cold")
    assert all(line.name != "early deletion" for line in estimate(shape, long, tariff, leaves=True, new=None).month)


def test_runs_of_schedules() -> None:
    assert runs_of(Schedule(times=[60, 120])) == pytest.approx(2 * MONTH)
    assert runs_of(Schedule(every=60)) == pytest.approx(24 * MONTH)
    assert runs_of(Schedule(times=[60], weekdays=[1], every_weeks=2)) == pytest.approx(MONTH / 14)


# --- the grammar --------------------------------------------------------------------------------------------------


def test_values_of_what_if() -> None:
    found = changes_of(
        ["size=50GB files=10^6", "machines=2,000", "change=2%", "check-1=1d", "prune=off", "leaves=no"]
    )
    assert found == {
        "size": 50 * 2.0**30, "files": 1e6, "machines": 2000, "change": 0.02, "check-1": MONTH, "prune": 0,
        "leaves": False,
    }  # fmt: skip
    for key in KEYS.values():
        needs = ["size=1GB"] if key.example.startswith(("files", "compress")) else []
        assert changes_of([key.example, *needs]), key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("machine=3", "did you mean machines"), ("nonsense=1", "it knows size"), ("machines", "has no value"),
        ("machines=", "has no value"), ("machines=0", "not from 1"), ("machines=1.5", "not a whole number"),
        ("machines=nan", "not a number"), ("machines=10^99", "not from 1"), ("machines=1e400", "not a number"),
        ("size=0", "not from 1 byte"), ("size=x", "not a size"), ("size=9999999P", "not from 1 byte"),
        ("change=101%", "not from 0"), ("check-1=5s", "less than an hour"), ("check-1=often", "not a length"),
        ("leaves=maybe", "`yes` or `no`"), ("tier=../x", "not a word"), ("points=5 points=6", "given twice"),
        ("files=5", "needs a size"), ("size=1G grow=2", "not both"),
    ],
)  # fmt: skip
def test_a_bad_what_if_is_answered_with_advice(text: str, said: str) -> None:
    with pytest.raises(UsageError) as e:
        changes_of([text])
    assert said in f"{e.value} {e.value.advice}"


# --- plans --------------------------------------------------------------------------------------------------------


def test_a_plan_of_the_vault_has_every_machine_check_all_of_it_and_that_is_said(tmp_path: Path) -> None:
    worked = Worked(tmp_path, 2)
    for machine in range(2):
        worked.fill(machine, files=10)
        worked.back_up(machine)
    plans = Plans(worked.vault)
    level, care = plans.of_vault(), Care(every=24)
    schedule = Schedule(times=[60, 720])
    add_plan(worked.vault, level, next_record(level, zone="UTC", check_1=care, check_2=care, schedule=schedule))
    habits, notes = habits_of(worked.vault, look(worked.vault))
    assert (habits.doers, habits.check_3, habits.prunes, habits.has_timers) == (2, 0, 0, True)
    assert (habits.check_1, habits.check_2, habits.backups) == pytest.approx((MONTH, MONTH, 2 * MONTH))
    assert notes == ["2 machines check or prune, and each does so for the whole vault: one is enough"]


# --- looking at a vault -------------------------------------------------------------------------------------------


def test_a_small_vault_takes_one_listing(tmp_path: Path) -> None:
    worked = Worked(tmp_path, 1)
    worked.fill(0)
    for _ in range(2):
        worked.back_up(0)
        worked.change(0)
    meter = MeteredStore(worked.memory)
    vault = open_vault(meter, passphrase=PASSPHRASE)
    before = meter.snapshot()
    looked = look(vault)
    spent = meter.snapshot() - before
    assert (spent.list.requests, spent.get.requests, spent.requests) == (1, 1, 2)
    assert looked.is_all
    objects = worked.memory.objects
    kinds = dict[str, tuple[float, float]]()
    for name, data in objects.items():
        count, size = kinds.get(name.split("/")[0], (0, 0))
        kinds[name.split("/")[0]] = (count + 1, size + len(data))
    assert {kind: found for kind, found in looked.kinds.items() if found[0]} == kinds
    assert looked.shape.stored == pytest.approx(sum(map(len, objects.values())))
    assert (looked.shape.points, looked.shape.files, looked.backups) == (2, 200, 1)
    assert looked.data < looked.shape.pack_bytes / 50, "a first backup is none of what a month adds"


def test_of_a_large_vault_some_machines_are_looked_at(worked_fleet: Vault, meter: MeteredStore) -> None:
    before = meter.snapshot()
    looked = look(worked_fleet)
    spent = meter.snapshot() - before
    assert not looked.is_all and looked.shape.machines == 40 and len(looked.items) == looking.MACHINES
    # The listing that is given up, that of machines, and of each of 16: 60 points, 80 packs, and four short ones.
    assert spent.list.requests == 20 + 2 + 16 * (3 + 4 + 4) + 6
    assert spent.requests == spent.list.requests + 16
    every = look(worked_fleet, everything=True)
    assert every.is_all
    for name in ("machines", "items", "points", "packs", "jobs"):
        assert getattr(looked.shape, name) == pytest.approx(getattr(every.shape, name), rel=0.02), name
    assert looked.shape.pack_bytes == pytest.approx(every.shape.pack_bytes, rel=0.02)


@pytest.fixture
def meter() -> MeteredStore:
    return MeteredStore(MemoryStore())


@pytest.fixture
def worked_fleet(meter: MeteredStore, monkeypatch: pytest.MonkeyPatch) -> Vault:
    """40 machines of 60 points and 80 packs each, for a limit of 25 names a request."""
    for module in (wrapper, looking):
        monkeypatch.setattr(module, "LIST_PAGE", 25)
    monkeypatch.setattr(looking, "OF_FOLDER", 1_000)
    vault = new_vault(meter)
    objects: Any = meter.inner
    for _machine in range(40):
        machine = os.urandom(16)
        objects.create(f"machines/{machine.hex()}/00000001", [b"x" * 140])
        item = os.urandom(16).hex()
        objects.create(f"items/{machine.hex()}/{item}/00000001", [b"x" * 100])
        for k in range(60):
            name = f"202601{k // 24 + 1:02d}T{k % 24:02d}0000Z-{k + 1:08d}-{os.urandom(16).hex()}"
            objects.create(f"points/{machine.hex()}/{item}/{name}", [b"x" * 300])
        for _ in range(80):
            pack = machine[:4] + b"\1" + os.urandom(11)
            objects.create(f"packs/{pack.hex()[:8]}/{pack.hex()[10:12]}/{pack.hex()}", [b"x" * 1000])
    return vault


def test_a_folder_that_is_too_long_is_reckoned_from_its_first_names(
    worked_fleet: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "OF_FOLDER", 2)  # 50 of 80 packs
    assert look(worked_fleet).shape.packs == pytest.approx(80, rel=0.15)


# --- the command --------------------------------------------------------------------------------------------------


def test_a_folder_costs_nothing_and_another_place_is_compared(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(os.urandom(300_000))
    rpdrive.ok("backup", source, "--item", "home")
    rpdrive.ok("plan", "set", source, "--item", "home", "--every", "1d")
    found = rpdrive.json("vault", "cost")
    assert found["now"]["total"]["money"]["all"] == 0 and found["then"] is None
    assert found["now"]["month"]["backups"]["requests"]["all"] == pytest.approx(MONTH * 18, abs=60)
    assert found["stored"]["packs"]["objects"] == 1
    then = rpdrive.json(
        "vault", "cost", "--what-if", "provider=azure", "--what-if", "tier=cool machines=2000 daily=30 prune=1d"
    )
    assert then["difference"] == pytest.approx(then["then"]["total"]["money"]["all"])
    assert then["then"]["vault"]["machines"] == 2000 and then["then"]["vault"]["points"] == 30
    assert then["then"]["prices"]["tier"] == "cool"
    assert then["is_assumed"] and not found["is_assumed"] and then["what_if"]["tier"] == "cool"
    assert "costs nothing but its disk" in rpdrive.ok("vault", "cost")
    said = rpdrive.fails("vault", "cost", "--what-if", "region=northeurope", code=2)
    assert "the vault is in a folder, which costs nothing; add a provider" in said
    text = rpdrive.ok("vault", "cost", "--what-if", "provider=azure")
    assert "A MONTH" in text and "DIFFERENCE" in text and "Not included: taxes" in text
    assert max(map(len, text.splitlines())) < 260


def test_who_plans_to_buy_needs_no_vault(rpdrive: Cli) -> None:
    found = rpdrive.json("vault", "cost", "--what-if", "size=50GB files=10^6 machines=20")
    assert found["now"] is None and found["vault"] is None and found["is_assumed"]
    assert found["then"]["total"]["money"]["all"] > found["then"]["month"]["storage"]["money"]["all"] > 1
    assert not (rpdrive.home / "state").exists()
    text = rpdrive.ok("vault", "cost", "--what-if", "size=50GB files=10^6 machines=20")
    assert text.startswith("A vault that does not exist: 20 machines") and "restore of one file" in text
    known = ["--what-if", "size=1GB region=eastus redundancy=GRS tier=cold"]
    assert not rpdrive.json("vault", "cost", *known)["is_assumed"]


def test_a_users_table_says_where_the_vault_is(rpdrive: Cli, tmp_path: Path) -> None:
    own = rpdrive.home / "config" / FILE
    own.parent.mkdir(parents=True, mode=0o700)
    head = 'date = 2026-11-01\nsource = "our contract"\ncurrency = "EUR"\n'
    row = '[[price]]\nprovider = "azure"\nregion = "here"\nredundancy = "ZRS"\ntier = "cool"\nstorage = 3\n'
    place = (
        f'[[vault]]\naddress = "{ADDRESS}"\nregion = "here"\nredundancy = "ZRS"\ntier = "cool"\nleaves = false\n'
    )
    own.write_text(head + row + place)
    found = priced(load(own.parent), ADDRESS)
    assert (found.tariff.currency, found.leaves, found.is_assumed) == ("EUR", False, False)
    assert priced(load(own.parent), "azure://account/other").is_assumed
    what = ["--what-if", "size=1GB region=here redundancy=ZRS tier=cool"]
    assert rpdrive.json("vault", "cost", *what)["then"]["prices"]["source"] == "our contract"
    own.write_text(head + row + "wriet = 1\n")
    assert "line 4: price[0]: object contains unknown field `wriet`" in rpdrive.fails(
        "vault", "cost", *what, code=2
    )
    other = tmp_path / "other.toml"
    other.write_text(head + row)
    assert rpdrive.json("vault", "cost", *what, "--prices", other)["then"]["total"]["money"]["all"] > 1
    line = json.loads(rpdrive.run("vault", "cost", "--what-if", "x=1", "--json").stderr)
    assert line["error"]["kind"] == "UsageError"


def test_a_table_with_places_that_are_there_twice() -> None:
    head = b'date = 2026-11-01\nsource = "x"\ncurrency = "EUR"\n[[vault]]\naddress = "a"\n'
    with pytest.raises(UsageError, match=r"line 6: vault\[1\]: the same row"):
        parse(head + b'[[vault]]\naddress = "a"\n', "p.toml")
    assert Shape().stored == 0


@pytest.mark.parametrize(
    "keeps", [Keeps(daily=30), Keeps(daily=14, weekly=8, monthly=12), Keeps(daily=7, weekly=4, yearly=3)]
)
def test_points_of_a_policy_are_about_those_that_retention_keeps(keeps: Keeps) -> None:
    """A point each day for four years: the model has as many as stay, but for 3, or 5 % (the ends of slots)."""
    now = 1_800_000_000 * 10**9
    points = [
        Fact(n.to_bytes(16, "big"), n, now - (1_500 - n) * DAY, now - (1_500 - n) * DAY) for n in range(1, 1_500)
    ]
    rules = {unit: RetentionRule(keep=getattr(keeps, unit)) for unit in Unit if getattr(keeps, unit)}
    kept = [one for one in decide(points, Policy(zone=UTC, rules=rules), [], now) if one.keep]
    assert len(ages(Habits(backups=MONTH, keeps=keeps))) == pytest.approx(len(kept), abs=3, rel=0.05)
