"""Levels 2 and 3 on whole vaults: each fault by point and path, in the vault's records, and with its cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalog.check import blocks, records
from catalog.check.deep import Deep, Done
from catalog.check.finding import What
from catalog.check.group import Request
from catalog.check.job import check
from catalog.check.level2 import Budget, groups
from catalog.check.listing import lines, plan_line, report_json
from catalog.check.report import Report
from catalog.errors import UsageError
from catalog.format.blocks import PackKind
from catalog.format.checks import SLICES, ChecksRecord
from catalog.format.packs import decode_pack, pack_name, pack_named
from catalog.format.places import BrokenRow
from catalog.format.records import Item, Machine
from catalog.points.health import Health
from catalog.store.base import Store
from catalog.vault import open_vault
from tests.catalog.check.test_levels import CASES, PLAN, STRANGER, Case, Told, World, folder, harmed, told
from tests.kit.drives import ITEM
from tests.kit.faults import FullStore, RefusingStore, bad_sector
from tests.kit.mover import Mover
from tests.kit.stores import MOST
from tests.kit.vaultmaker import MACHINE, Packer
from tests.kit.vaults import PASSPHRASE

ALL = Budget(percent=100, by=MACHINE, processors=2)
BLOCK = What.BLOCK
LOST_PLAN = {1: (1, (PLAN,)), 2: (1, (PLAN,))}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("catalog.places.PATIENCE", 0.0)
    return World(tmp_path)


def deep(world: World, **more: Any) -> Report:
    world.now += 10**9
    return world.check(3, budget=ALL, **more)


def record_of(world: World) -> ChecksRecord:
    found = records.newest(world.vault, MACHINE)
    assert found is not None
    return found


def rot(world: World) -> None:
    """One bit of the block that holds `plan`."""
    world.spoil(world.name(world.plan), world.plan.offset + 5)


DEEPER = {"data block changed": [Told(BLOCK, (1, 2), PLAN)]}


@pytest.mark.parametrize("name", CASES)
def test_level_3_finds_what_levels_0_and_1_do_and_bad_blocks(world: World, name: str) -> None:
    case: Case = CASES[name]
    assert not deep(world).findings
    case.fault(world)
    wanted = DEEPER.get(name, case.level1)
    hurt = LOST_PLAN if name in DEEPER else dict(case.harmed)
    for _ in range(2):  # the second time, the first record is known
        report = deep(world)
        assert sorted(told(world, report)) == sorted(wanted)
        assert harmed(world, report) == hurt
    record = record_of(world)
    assert {world.points.index(n) + 1 for n in world.points if n.id in {r.point for r in record.damaged}} == set(
        hurt
    )
    # Level 1 finds the same from then on: it is known.
    assert sorted(told(world, world.check(1))) == sorted(wanted)


def damage_contents(world: World) -> None:
    name = world.name(world.film[0])
    world.spoil(name, len(world.memory.objects[name]) - 20)


def test_a_bad_table_of_contents_hides_no_bad_block(world: World) -> None:
    damage_contents(world)
    report = deep(world)
    assert [(f.what, f.is_damage) for f in report.findings] == [(What.CONTENTS, False)]
    assert not report.harmed and not report.is_damaged
    (line, *_rest) = lines(report, {})
    assert "no file needs it" in line and "another copy of the vault" in line
    assert not record_of(world).bad, "its points are whole"
    world.spoil(world.name(world.film[7]), world.film[7].offset + 1)
    report = deep(world)
    assert sorted(f.what for f in report.findings) == sorted([What.CONTENTS, BLOCK])
    (block,) = [f for f in report.findings if f.what is BLOCK]
    assert (block.offset, block.path) == (world.film[7].offset, b"films/long")
    assert harmed(world, report) == {1: (1, (b"films/long",)), 2: (1, (b"films/long",))}
    assert report.is_damaged
    assert {row.offset for row in record_of(world).bad} == {world.film[7].offset}


@pytest.mark.parametrize("at", [0, -1], ids=["header", "trailer"])
@pytest.mark.parametrize("kind", list(PackKind)[:2])
def test_damage_around_the_blocks_of_packs_and_carriers_is_no_damage_of_files(
    world: World, kind: PackKind, at: int
) -> None:
    mover = Mover(world.vault, world.memory)
    packs = mover.packs(kind)
    mover.merge(kind, packs[:2])
    mover.publish()
    mover.delete(kind, packs[:2])
    for one in (*packs[2:], *(mover.carriers if at else ())):  # nothing reads the header of a carrier
        name = pack_name(kind, one)
        world.spoil(name, at % len(world.memory.objects[name]))
    report = deep(world)
    assert {f.what for f in report.findings} == {What.CONTENTS}
    assert not report.is_damaged and not report.harmed


def test_blocks_that_are_cut_off_while_a_check_runs_are_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of contents goes with them: that it is damaged must not be all that is told."""
    name, run = world.name(world.film[0]), Deep.run

    def cut_before(self: Deep, *more: Any) -> Done:
        world.cut(name, world.film[20].offset)
        return run(self, *more)

    monkeypatch.setattr(Deep, "run", cut_before)
    report = deep(world)
    assert {f.what for f in report.findings if f.is_damage} == {What.SHORT} and report.is_damaged
    assert harmed(world, report) == {1: (1, (b"films/long",)), 2: (1, (b"films/long",))}


def test_what_is_whole_again_is_forgotten(world: World) -> None:
    rot(world)
    assert deep(world).is_damaged
    record = record_of(world)
    assert [row.files for row in record.damaged] == [1, 1]
    assert [row.paths for row in record.damaged] == [[PLAN], [PLAN]]
    rot(world)  # the same bit again: somebody has put the pack back
    assert world.check(1).is_damaged  # level 1 does not look
    assert not deep(world).findings
    record = record_of(world)
    assert (record.bad, record.damaged) == ([], [])
    assert not world.check(1).findings


def test_known_damage_is_looked_at_again_by_any_share(world: World) -> None:
    rot(world)
    deep(world)
    little = Budget(percent=0.01, by=MACHINE, processors=2)
    world.now += 10**9
    report = world.check(2, budget=little)
    assert told(world, report) == [Told(BLOCK, (1, 2), PLAN)]
    rot(world)
    world.now += 10**9
    assert not world.check(2, budget=little).findings
    assert record_of(world).bad == []


def test_what_is_known_to_be_lost_or_has_a_copy_is_no_damage(world: World) -> None:
    mover = Mover(world.vault, world.memory)
    mover.broken.append(BrokenRow(world.plan.pack, int(PackKind.DATA), world.plan.offset, 1, "the disk"))
    mover.publish()
    rot(world)
    report = deep(world)
    assert [(f.what, f.acknowledged, f.is_damage) for f in report.findings] == [(BLOCK, True, False)]
    assert harmed(world, report) == LOST_PLAN
    copy = world.data.block([b"another chunk", world.contents[1]])[1]
    world.data.finish()
    mover.broken.clear()
    mover.replace(world.plan, copy)
    mover.publish()
    for _ in range(2):
        report = deep(world)
        assert [(f.what, f.healed, f.is_damage) for f in report.findings] == [(BLOCK, True, False)]
        assert not report.harmed
    world.spoil(world.name(copy), copy.offset + 5)
    report = deep(world)
    assert report.is_damaged
    assert harmed(world, report) == LOST_PLAN


def test_each_live_block_is_opened_once_and_each_pack_read_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = world.block(b"nothing refers to this")
    seen = list[tuple[bytes, int]]()
    real: Callable[..., None] = blocks.check_block

    def noting(keys: object, kind: object, pack: bytes, row: Any, sealed: object) -> None:
        seen.append((pack, row.offset))
        real(keys, kind, pack, row, sealed)

    monkeypatch.setattr(blocks, "check_block", noting)
    world.check(1)
    before = world.meter.snapshot()
    world.check(1)
    shallow = (world.meter.snapshot() - before).requests
    before = world.meter.snapshot()
    count = len(world.memory.objects)
    report = deep(world)
    spent = (world.meter.snapshot() - before).requests
    noted = len(world.memory.objects) - count
    names = [name for name in world.memory.objects if name.startswith(("packs/", "meta/"))]
    live = [name for name in names if name != world.name(dead)]
    wanted = []
    for name in live:
        pack = pack_named(name)
        assert pack is not None
        kind = PackKind.DATA if name.startswith("packs/") else PackKind.TREE
        rows = decode_pack(world.vault.keys, kind, pack, world.memory.get(name, MOST))
        wanted += [(pack, row.offset) for row in rows]
    assert sorted(seen) == sorted(wanted)
    assert report.packs_read == len(live)
    # A listing of the records to plan with, and one more with two requests each time that a record is written; and
    # what this run has noted is opened, too.
    assert spent - shallow == len(live) + 3 + noted
    assert len(record_of(world).slices) == SLICES


def test_a_point_counts_as_verified_after_everything_was_read(world: World) -> None:
    machines = world.vault.machines()

    def verified() -> list[bool]:
        health = Health.of(world.vault, [MACHINE], machines)
        stored = dict(world.vault.stored_points(MACHINE))
        return [health.verified(world.vault.point(name), stored[name]) for name in world.points]

    assert verified() == [False, False]
    deep(world)
    assert verified() == [True, True]
    world.points.append(world.point(3, world.docs))
    assert verified() == [True, True, False]
    world.spoil(world.name(world.note), world.note.offset + 5)  # points 1 and 3 have it
    deep(world)
    assert verified() == [False, True, False]


def test_machines_that_share_packs_are_read_together(world: World) -> None:
    other = Machine(id=STRANGER, name="new", hostname="new", system="Linux", created=1, shares=[MACHINE])
    world.vault.add_machine(other)
    world.vault.add_item(Item(id=ITEM, machine=STRANGER, name="home", paths=[b"/home"], created=1))
    alone = world.block(b"only the other machine refers to this")
    packer = Packer(world.vault, PackKind.DATA, machine=STRANGER)
    (mine,) = packer.block([b"in a pack of its own"])
    packer.finish()
    files = [world.file(b"mine", mine), world.file(b"own", alone)]
    name = world.committed(1, world.tree([folder(b"docs", world.docs), *files]), machine=STRANGER)
    world.spoil(world.name(alone), alone.offset + 3)
    for machine in (MACHINE, STRANGER):
        before = world.meter.snapshot()
        report = deep(world, machine=machine)
        assert (world.meter.snapshot() - before).size.requests == 0  # both listings are used
        assert report.machines == 2
        (found,) = report.findings
        assert (found.what, found.path, found.points) == (BLOCK, b"own", (name,))
    assert [row.point for row in (records.newest(world.vault, STRANGER) or pytest.fail("no record")).damaged] == [
        name.id
    ]
    assert [row.pack for row in record_of(world).bad] == [alone.pack]


def test_groups_of_machines() -> None:
    a, b, c, d = (bytes([n]) * 16 for n in range(4))
    assert groups({a: [], b: [], c: []}) == [[a], [b], [c]]
    assert groups({a: [], b: [a], c: [], d: [c]}) == [[a, b], [c, d]]
    assert groups({a: [b], b: [c], c: [d], d: []}) == [[a, b, c, d]]
    assert groups({a: [d], b: [d]}) == [[a, b]]
    twin = a[:4] + b"x" * 12
    assert groups({a: [], twin: []}) == [[a, twin]]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda store: RefusingStore(store, {"create"}, "checks/"), "this access may not create"),
        (lambda store: FullStore(store, 0), "it is full"),
    ],
)
def test_damage_is_told_if_it_cannot_be_noted(world: World, broken: Callable[[Store], Store], why: str) -> None:
    rot(world)
    vault = open_vault(broken(world.meter), passphrase=PASSPHRASE)
    from catalog.check.group import Request
    from catalog.check.job import check

    report = check(vault, Request(3, budget=ALL), world.state)
    assert report.is_damaged
    assert any(why in note for note in report.notes)
    assert records.newest(world.vault, MACHINE) is None


def test_the_plan_is_announced_before_anything_is_read(world: World) -> None:
    said = list[str]()

    def announce(plans: Any) -> None:
        before = [name for name in world.memory.objects if name.startswith("checks/")]
        said.append(f"{plan_line(plans)} {before}")

    world.check(2, budget=ALL._replace(announce=announce))
    (line,) = said
    assert line.startswith("reading 256 of 256 slices: ")
    assert line.endswith("[]")


def test_the_result_as_text_and_json(world: World) -> None:
    rot(world)
    report = deep(world)
    text = "\n".join(lines(report, world.vault.machines()))
    assert "damaged block: packs/" in text
    assert "/docs/deep/plan" in text
    assert "1 file can't be given back" in text
    assert "all packs of 00010203 were read" in text
    row = json.loads(json.dumps(report_json(report)))
    assert row["damaged"] is True
    assert {r["files"] for r in row["damaged_points"]} == {1}
    (found,) = row["findings"]
    assert (found["what"], found["offset"]) == ("damaged block", world.plan.offset)


def test_options() -> None:
    from catalog.check.options import Options

    for bad in (
        (4, None, None), (5, None, None), (-1, None, None), (1, 1.0, None), (3, 50.0, None), (2, 0.0, None),
        (2, 101.0, None), (1, None, "30m"), (2, None, "x"),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            Options(*bad).check(None)
    with pytest.raises(UsageError):
        Options(2, None, None).check("home")
    Options(1, None, None).check("home")
    good = ((2, None, None), (2, 5.0, None), (2, None, "1h"), (3, None, "1h"))
    assert [Options(*one).share() for one in good] == [1, 5, 100, 100]
    assert Options(3, None, "1h").seconds() == 3600


def test_a_missing_pack_of_trees_and_data(world: World) -> None:
    deep(world)
    world.lose(pack_name(PackKind.DATA, world.plan.pack))
    report = deep(world)
    assert told(world, report) == [Told(What.MISSING, (1, 2), PLAN)]
    assert [row.stored for row in record_of(world).bad] == [0]
    assert {row.slice for row in record_of(world).slices if row.faults} == {world.plan.pack[5]}


def test_a_block_that_was_moved_is_named_with_the_object_that_holds_it(world: World) -> None:
    mover = Mover(world.vault, world.memory)
    mover.move_all()
    carrier = pack_name(PackKind.DATA, mover.carriers[0])
    world.spoil(carrier, 20)
    (found,) = deep(world).findings
    assert (found.what, found.object) == (BLOCK, carrier) and f"+{found.offset} differs" in found.reason
    assert found.pack.hex() not in carrier and found.pack.hex() in found.reason


def test_a_pack_and_a_copy_that_are_refused_are_named_and_the_rest_is_read(world: World) -> None:
    refused = [world.name(world.plan), "vault/1.json"]
    store: Store = world.memory
    for name in refused:
        store = RefusingStore(store, prefix=name)
    vault = open_vault(store, passphrase=PASSPHRASE)
    report = check(vault, Request(3, budget=ALL), world.state)
    assert {finding.object for finding in report.findings if finding.is_damage} == set(refused)
    assert report.packs_read > 1


def test_a_bad_sector_costs_the_block_that_is_there(world: World) -> None:
    at, name = world.film[7], world.name(world.film[7])
    bad_sector(world.memory, name, at.offset + 5)
    (found,) = deep(world).findings
    assert (found.what, found.object, found.offset) == (BLOCK, name, at.offset)
    assert "can't be read" in found.reason
