"""What is lost is named, stored again by the next backup, and found by the next repair: old points heal."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup import pipeline
from catalog.errors import ObjectChanged
from catalog.format.checks import BadRow, ChecksRecord, checks_folder, encode_checks
from catalog.format.numbers import written_number
from catalog.format.packs import pack_name
from catalog.format.places import DeadRow, places_folder
from catalog.format.sealed import Kind, seal_object
from catalog.mark.roots import find_roots
from catalog.mark.run import mark
from catalog.repair import state
from catalog.repair.examine import Examination, Found, Wanted
from catalog.repair.run import Repair
from catalog.repair.state import State
from catalog.screen.phases import NoFollower
from catalog.store.wrapper import Request
from tests.backup.test_evidence import Acting
from tests.backup.test_places import World
from tests.catalog.repair.worlds import DATA, TREE, Damage, Repairs, lost_names
from tests.kit.faults import StopAtStore, Stopped, bad_sector, spoilt

READ_ALL = Wanted(read_all=True)


@pytest.fixture
def repairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repairs:
    monkeypatch.setattr(pipeline, "PACK_TARGET", 20_000)
    monkeypatch.setattr(pipeline, "BLOCK_RAW", 5_000)
    monkeypatch.setattr(pipeline, "TREE_BLOCK_RAW", 500)
    return Repairs(World(tmp_path))


def test_nothing_to_repair(repairs: Repairs) -> None:
    requests: list[Request] = []
    found = repairs.look(store=Acting(repairs.world.memory, requests.append))
    assert found.is_clean
    assert not [r for r in requests if r.kind == "read" and r.name.startswith("packs/")]
    repairs.run()
    assert repairs.remove("places/") == 0


# --- data packs ----------------------------------------------------------------------------------------------


def gone(repairs: Repairs) -> set[str]:
    del repairs.world.memory.objects[repairs.name()]
    return {f"f{n}" for n in (0, 1, 10, 11, 2, 3)}


def cut(repairs: Repairs) -> set[str]:
    rows = repairs.rows()
    name = repairs.name()
    repairs.world.memory.objects[name] = repairs.world.memory.objects[name][: rows[1].offset + 5]
    return {f"f{n}" for n in (10, 11, 2, 3)}


def rotten(repairs: Repairs) -> set[str]:
    repairs.rot(repairs.name(), repairs.rows()[1].offset + 9)
    return {"f10", "f11"}


def unreadable(repairs: Repairs) -> set[str]:
    bad_sector(repairs.world.memory, repairs.name(), repairs.rows()[1].offset + 9)
    return {"f10", "f11"}


@pytest.mark.parametrize(
    ("damage", "wanted", "stored"),
    [(gone, Wanted(), 6), (cut, Wanted(), 6), (rotten, READ_ALL, 2), (unreadable, READ_ALL, 2)],
    ids=["gone", "cut", "rotten", "unreadable"],
)
def test_lost_data_heals(repairs: Repairs, damage: Damage, wanted: Wanted, stored: int) -> None:
    """New points from the source, old ones by what the new ones stored."""
    expected = damage(repairs)
    dry = repairs.look(wanted)
    found, written = repairs.run(wanted)
    assert _rows(dry) == _rows(found) != [] and dry.losses == found.losses and written.places
    assert lost_names(found) == expected and found.lost == len(expected) and found.losses.points == 1
    assert not repairs.reads(0)
    assert not repairs.look(wanted).rows.broken, "they are in the record"
    outcome = repairs.backup()
    assert outcome.progress.sent.new_bytes == 4_000 * stored, "the machine trusts nothing in a pack that was cut"
    found, written = repairs.run(wanted)
    assert (found.lost, found.healed) == (0, len(expected)) and written.places
    repairs.assert_reads(0, 1)
    again, written = repairs.run(wanted)
    assert again.is_clean and written.places == []


def _rows(found: Found) -> list[tuple[bytes, int, int | None]]:
    return [(row.pack, row.kind, row.offset) for row in found.rows.broken]


@pytest.mark.parametrize("source", ["noted", "checked"])
def test_what_others_found_is_read_again(repairs: Repairs, source: str) -> None:
    expected = rotten(repairs)
    world = repairs.world
    packs = world.mover.packs(DATA)
    assert repairs.look().is_clean, "nobody has read it"
    wanted = Wanted()
    if source == "noted":
        wanted = Wanted(frozenset(packs[:2]))
    else:
        series = world.id[:4]
        rows = [BadRow(pack, int(DATA), 8, 100, 2, 1, "it rots") for pack in packs[:2]]
        record = ChecksRecord(series=series, number=1, by=bytes(16), written=1, bad=rows)
        name = checks_folder(series) + written_number(1)
        data = seal_object(world.machine.vault.keys, Kind.CHECKS, name, encode_checks(record))
        world.memory.create(name, [data])
    found, _written = repairs.run(wanted)
    assert lost_names(found) == expected
    (row,) = found.rows.broken
    assert (row.pack, row.offset) == (packs[0], repairs_offset(repairs))


def repairs_offset(repairs: Repairs) -> int:
    """Where the second block of a pack of four files of 4,000 bytes begins."""
    return repairs.rows(number=1)[1].offset


def test_a_copy_that_is_there_already_heals_at_once(repairs: Repairs) -> None:
    world = repairs.world
    world.hide(world.mover.packs(DATA)[0])
    world.mover.publish()
    world.copy("c")
    repairs.backup()  # stores the hidden chunks again
    del world.memory.objects[pack_name(DATA, world.mover.dead[0].pack)]
    assert not repairs.reads(0)
    found, _written = repairs.run()
    assert found.lost == 0 and found.healed == 6
    repairs.assert_reads(0, 1)


def test_a_copy_that_is_lost_in_turn_is_replaced(repairs: Repairs) -> None:
    gone(repairs)
    repairs.run()
    repairs.backup()
    repairs.run()
    repairs.assert_reads(0, 1)
    copies = repairs.look(READ_ALL)
    assert copies.is_clean
    del repairs.world.memory.objects[repairs.name(number=-1)]
    assert not repairs.reads(0)
    found, _written = repairs.run()
    assert found.lost == 12, "of both points"
    repairs.backup()
    found, _written = repairs.run()
    assert found.lost == 0 and found.healed == 12
    repairs.assert_reads(0, 1, 2)


def test_what_its_source_no_longer_has_stays_lost_by_name(repairs: Repairs) -> None:
    expected = gone(repairs)
    repairs.run()
    for name in ("f0", "f1"):
        (repairs.world.source / "a" / name).unlink()
    repairs.backup()
    found, _written = repairs.run()
    assert lost_names(found) == {"f0", "f1"} < expected
    assert (found.lost, found.healed) == (2, 4)
    assert not repairs.reads(0)
    found, written = repairs.run()
    assert lost_names(found) == {"f0", "f1"} and written.places == [], "known, and named each time"


# --- trees ---------------------------------------------------------------------------------------------------


def leaf_block(repairs: Repairs) -> tuple[str, int]:
    """The first block of the tree pack: the files of the folder `a`."""
    return repairs.name(TREE), repairs.rows(TREE)[0].offset


def test_a_lost_folder_heals_by_an_equal_page(repairs: Repairs) -> None:
    name, at = leaf_block(repairs)
    repairs.rot(name, at + 9)
    found, written = repairs.run()
    assert lost_names(found) == {"a/"} and written.places == [], "nobody has given it up"
    assert [row.offset for row in found.acknowledged] == [at]
    repairs.backup()
    assert not repairs.reads(0)
    found, written = repairs.run()
    assert found.lost == 0 and found.healed == 1 and written.places
    repairs.assert_reads(0, 1)
    assert repairs.look().is_clean


def test_files_below_a_folder_that_is_found_again_are_looked_for(repairs: Repairs) -> None:
    """Nothing of what is below a page is known before the page is found."""
    world = repairs.world
    name, at = leaf_block(repairs)
    (world.source / "b" / "new").write_bytes(b"new")
    world.machine.store = world.memory
    expected = {f"f{n}" for n in (0, 1, 10, 11, 2, 3)}
    repairs.rot(name, at + 9)
    repairs.backup()
    # An equal page is there now; the data of the old point goes, and comes back under other places.
    del world.memory.objects[repairs.name()]
    found, _written = repairs.run()
    assert found.healed == 1 and lost_names(found) == expected
    assert found.losses.points == 2


def test_a_folder_that_stays_lost_is_given_up_by_name(repairs: Repairs) -> None:
    """A mark stops before it, and passes over it once that is acknowledged."""
    world = repairs.world
    name, at = leaf_block(repairs)
    repairs.rot(name, at + 9)
    (world.source / "a" / "f3").write_bytes(b"other")
    repairs.backup()
    for acknowledge in (False, True):
        found, written = repairs.run(acknowledge=acknowledge)
        assert lost_names(found) == {"a/"} and bool(written.places) is acknowledge
        vault = repairs.vault()
        with mark(vault, find_roots(vault)) as marked:
            assert marked.is_blind is not acknowledge
    found, written = repairs.run(acknowledge=True)
    assert lost_names(found) == {"a/"} and written.places == []
    repairs.assert_reads(1)
    assert not repairs.reads(0)


# --- index ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damaged", [False, True])
def test_index_objects_are_made_anew(repairs: Repairs, damaged: bool) -> None:
    world = repairs.world
    for name in [n for n in world.memory.objects if n.startswith("index/")]:
        if damaged:
            world.memory.objects[name] = spoilt(world.memory.objects[name])
        else:
            del world.memory.objects[name]
    found, written = repairs.run()
    assert found.unindexed == len(world.mover.packs(DATA)) and written.indexes == 1
    assert len(found.remarks) == int(damaged)
    assert repairs.look().unindexed == 0
    for path in world.machine.state.glob("index-*"):
        path.unlink()
    world.copy("c")
    outcome = world.machine.backup(world.source)
    assert outcome.progress.sent.new_bytes == 0, "the copies are found by their contents"


def test_packs_that_no_point_needs_are_not_listed(repairs: Repairs) -> None:
    """They are garbage, or another run is about to list them."""
    world = repairs.world
    repairs.remove("points/")
    repairs.remove("index/")
    assert list(repairs_of(repairs)) == []
    assert world.memory.objects


def repairs_of(repairs: Repairs) -> list[Examination]:
    return list(Repair(repairs.vault(), None, Wanted(), NoFollower()).examinations())


# --- records of places ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("rot", [False, True])
def test_a_record_of_places_is_made_anew(repairs: Repairs, earlier: bool, rot: bool) -> None:
    """The newest one is gone, or rots; the packs that it says were moved are deleted."""
    world = repairs.world
    if earlier:
        world.hide(world.mover.packs(DATA)[-1])
        world.mover.publish()
    world.mover.move_all()
    repairs.assert_reads(0)
    folder = places_folder(world.id[:4])
    newest = folder + written_number(world.mover.number)
    if rot:
        world.memory.objects[newest] = spoilt(world.memory.objects[newest])
    else:
        del world.memory.objects[newest]
    assert not repairs.reads(0)
    found, written = repairs.run()
    assert found.rebuilt is not None
    numbers = [int(name.rpartition("/")[2]) for name in written.places]
    assert numbers[0] == int(earlier) + 1 + int(rot), "a run that follows the same record loses"
    assert numbers[1] >= 1000, "whoever has read the lost one takes this"
    repairs.assert_reads(0)
    assert repairs.look().rebuilt is None
    assert repairs.backup().progress.sent.new_bytes == 0
    if earlier:
        (record,) = repairs.vault().places.newest(world.id)
        assert any(row.pack == world.mover.dead[0].pack for row in record.dead), "what was hidden stays hidden"


def test_what_the_lost_record_may_have_hidden_is_hidden(repairs: Repairs) -> None:
    world = repairs.world
    (world.source / "c").mkdir()
    (world.source / "c" / "garbage").write_bytes(b"g" * 30_000)
    world.checked()
    garbage = world.mover.packs(DATA)[-1]
    vault = world.machine.vault
    world.memory.delete(str(vault.point_names()[-1]))
    world.mover.move_all()
    del world.memory.objects[places_folder(world.id[:4]) + written_number(1)]
    repairs.run()
    (record,) = repairs.vault().places.newest(world.id)
    assert (garbage, None) in {(row.pack, row.since) for row in record.dead}
    assert world.checked().progress.sent.new_bytes == 30_000, "it is stored again"


def test_upkeep_that_follows_the_same_record_stops_a_rebuild(repairs: Repairs) -> None:
    """Its own record is there first: what a repair has found may be old."""
    world = repairs.world
    world.mover.move_all()
    del world.memory.objects[places_folder(world.id[:4]) + written_number(1)]
    raced: list[int] = []

    def race(request: Request) -> None:
        if request.kind == "create" and request.name.startswith("places/") and not raced:
            raced.append(1)
            world.mover.number = 0
            world.mover.publish()

    with pytest.raises(ObjectChanged):
        repairs.run(store=Acting(world.memory, race))
    assert repairs.remove("places/") == 1
    repairs.run()
    repairs.assert_reads(0)


# --- records, races, interruptions ---------------------------------------------------------------------------


@pytest.mark.parametrize("rot", [False, True])
def test_records_of_machines_and_items_are_made_anew(repairs: Repairs, rot: bool) -> None:
    world = repairs.world
    before = world.machine.vault.machines()[world.id], world.machine.vault.items(world.id)
    for name in [n for n in world.memory.objects if n.startswith(("machines/", "items/"))]:
        if rot:
            world.memory.objects[name] = spoilt(world.memory.objects[name])
        else:
            del world.memory.objects[name]
    assert world.machine.vault.machines() == {}
    repairs.run()
    after = world.machine.vault.machines()[world.id], world.machine.vault.items(world.id)
    assert (after[0].name, after[0].hostname, after[0].system) == (
        before[0].name,
        before[0].hostname,
        before[0].system,
    )
    assert {i: (item.name, item.paths) for i, item in after[1].items()} == {
        i: (item.name, item.paths) for i, item in before[1].items()
    }
    assert repairs.look().is_clean


def test_another_run_that_was_faster_loses_nothing(repairs: Repairs) -> None:
    world = repairs.world
    gone(repairs)
    kept = world.mover.packs(DATA)[-1]
    raced: list[int] = []

    def race(request: Request) -> None:
        if request.kind == "create" and request.name.startswith("places/") and not raced:
            raced.append(1)
            world.mover.dead.append(DeadRow(kept, int(DATA), 5, []))
            world.mover.publish()

    _found, written = repairs.run(store=Acting(world.memory, race))
    assert [name.rpartition("/")[2] for name in written.places] == [written_number(2)]
    (record,) = repairs.vault().places.newest(world.id)
    assert [row.pack for row in record.dead] == [kept] and len(record.broken) == 1 and record.by != bytes(16)


def test_a_run_that_always_loses_gives_up(repairs: Repairs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "TRIES", 2)
    world = repairs.world
    gone(repairs)

    def race(request: Request) -> None:
        if request.kind == "create" and request.name.startswith("places/"):
            world.mover.publish()

    with pytest.raises(ObjectChanged):
        repairs.run(store=Acting(world.memory, race))


def test_stopped_at_each_write(repairs: Repairs) -> None:
    """Run again, it ends where an uninterrupted one does."""
    world = repairs.world
    repairs.remove("index/")
    repairs.remove("machines/")
    expected = gone(repairs)
    damaged = dict(world.memory.objects)
    for after in (False, True):
        for at in range(1, 5):
            world.memory.objects = dict(damaged)
            store = StopAtStore(world.memory, at, after=after, kinds=["create"])
            try:
                repairs.run(store=store)
            except Stopped:
                pass
            assert store.stopped is (at <= 3)
            found, _written = repairs.run()
            assert lost_names(found) == expected
            found = repairs.look()
            assert not found.rows.broken and not found.unindexed
            assert world.id in world.machine.vault.machines()


def test_what_upkeep_may_be_deleting_stands_in_for_nothing(repairs: Repairs) -> None:
    world = repairs.world
    at = next(row for row in repairs.rows()[0].extents(world.mover.packs(DATA)[0]))
    day, now = 86_400 * 10**9, world.memory.now()
    for since, usable in ((now - 7 * day, False), (now - 6 * day, False), (now - day, True), (None, True)):
        world.mover.dead = [DeadRow(at.pack, int(DATA), since, [(8, 9)])]
        world.mover.publish()
        assert State(repairs.vault(), world.id[:4]).is_usable(DATA, at) is usable


def test_a_dry_run_says_what_the_run_does(repairs: Repairs) -> None:
    rotten(repairs)
    repairs.remove("index/")
    dry = repairs.look(READ_ALL)
    found, _written = repairs.run(READ_ALL)
    assert dry.unindexed == found.unindexed > 0 and dry.losses == found.losses
    assert [r.offset for r in dry.rows.broken] == [r.offset for r in found.rows.broken] != []
