"""Pruning beside repairs: what stands in for lost data stays, and what was given up stops nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from catalog import places
from catalog.errors import RpdriveError
from catalog.format.blocks import PackKind
from catalog.format.checks import BadRow, ChecksRecord, checks_folder, encode_checks
from catalog.format.numbers import written_number
from catalog.format.packs import decode_pack, pack_name, pack_named
from catalog.format.records import PointName
from catalog.format.sealed import Kind, seal_object
from catalog.prune.run import Refused
from catalog.repair.examine import Found, Wanted
from catalog.repair.run import Repair
from catalog.repair.state import Signer
from catalog.screen.phases import NoFollower
from catalog.signing import signing_key
from tests.kit.pruning import DAY, START, World
from tests.kit.vaultmaker import MACHINE, Packer

DATA, TREE = PackKind.DATA, PackKind.TREE


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for listings that may be behind: these are not."""
    monkeypatch.setattr(places, "PATIENCE", 0.0)


def repair(world: World, *, acknowledge: bool = False) -> Found:
    vault = world.opened()
    runs = Repair(vault, None, Wanted(), NoFollower())
    (examination,) = runs.examinations()
    try:
        found = examination.run()
        runs.carry_out(examination, found, Signer(*signing_key(vault), bytes(16)), acknowledge=acknowledge)
        return found
    finally:
        examination.close()


def blocks(world: World, name: str, kind: PackKind) -> list[int]:
    pack = pack_named(name)
    assert pack is not None
    return [row.offset for row in decode_pack(world.vault.keys, kind, pack, world.memory.objects[name])]


def lose(world: World, name: str) -> None:
    del world.memory.objects[name]


def cut(world: World, name: str) -> None:
    world.memory.objects[name] = world.memory.objects[name][: blocks(world, name, DATA)[1] + 30]


def reads(world: World, point: PointName) -> bool:
    try:
        return world.read(point, world.opened()) == world.points[point]
    except RpdriveError:
        return False


def lived() -> tuple[World, PointName, str]:
    """A world with points of which the first needs a pack that the newest needs, too; that pack."""
    world = World()
    first = world.backup(0, 1, 2)
    (pack,) = world.objects("packs/")
    world.later(1)
    world.backup(3, publish=True)
    return world, first, pack


def stored_again(world: World) -> PointName:
    """A point for which the contents of three files were stored again, as a backup does after a repair."""
    packer = Packer(world.vault, DATA)
    for name in (b"file-000", b"file-001", b"file-002"):
        world._at[name] = packer.block([world.files[name]])[0]
    packer.finish()
    world._publish(packer.names)
    return world._commit()


@pytest.mark.parametrize("harm", [lose, cut])
def test_what_stands_in_for_lost_data_stays(harm: Callable[[World, str], None]) -> None:
    """The copies are needed by no tree but through records of places."""
    world, first, pack = lived()
    harm(world, pack)
    with pytest.raises(Refused):
        world.prune()
    found = repair(world)
    lost = found.lost
    assert lost == (3 if harm is lose else 2)
    world.prune(yes=True)  # the loss is known: pruning goes on
    newest = stored_again(world)
    found = repair(world)
    assert (found.lost, found.healed) == (0, lost)
    assert reads(world, first) and reads(world, newest)
    world.later(1)
    world.backup(0, 1, 2)
    world.forget(newest)
    world.settle()
    assert str(newest) not in world.objects("points/")
    assert reads(world, first)


def test_a_folder_that_was_given_up_stops_nothing() -> None:
    world, first, _pack = lived()
    root = world.vault.point(first).root
    assert root is not None
    lose(world, pack_name(TREE, root.pack))
    for _ in range(2):
        found = repair(world)
        assert found.lost > 0 and found.acknowledged
        with pytest.raises(Refused):
            world.prune()
    repair(world, acknowledge=True)
    newest = world.backup(4)
    world.settle()
    assert not reads(world, first)
    assert reads(world, newest)
    assert repair(world).acknowledged == []


def test_moved_and_then_lost() -> None:
    """Blocks that upkeep has moved: the carrier is cut, or the record of places is taken away."""
    world, first, _pack = lived()
    for n in range(4):
        world.later(1)
        world.backup(n)
    world.settle()
    assert world.objects("places/") and reads(world, first)
    kept = world.saved()
    for name in list(world.objects("places/")):
        lose(world, name)
    assert not reads(world, first)
    found = repair(world)
    assert found.rebuilt is not None and found.lost == 0
    world.check()
    world.settle()
    world.check()
    world.restore(kept)
    carrier = max(world.objects("packs/"), key=lambda name: world.objects("packs/")[name])
    world.memory.objects[carrier] = world.memory.objects[carrier][:2_000]
    found = repair(world)
    assert found.lost > 0
    world.prune(yes=True)
    world.settle(3)
    newest = world.backup(0, 1, 2, 3)
    assert reads(world, newest)


def one_is_bad(world: World, pack: bytes) -> None:
    """Note in the vault that a check has found a bad block in a data pack."""
    row = BadRow(pack, int(DATA), 8, 100, 2, START, "it rots")
    record = ChecksRecord(series=MACHINE[:4], number=1, by=bytes(16), written=START, bad=[row])
    name = checks_folder(MACHINE) + written_number(1)
    world.store.create(name, [seal_object(world.vault.keys, Kind.CHECKS, name, encode_checks(record))])


@pytest.mark.parametrize("harm", ["gone", "rotten"])
def test_a_carrier_is_lost_while_the_packs_that_were_moved_are_there(harm: str) -> None:
    """Their own objects go 72 hours after they were moved, unless something is wrong with the carrier."""
    world = World()
    names = [world.backup(n, n + 3) for n in range(3)]
    world.later(8)
    assert world.prune().carriers == 2
    (record,) = world.opened().places.newest(MACHINE)
    data = [row for row in record.moved if row.kind == DATA]
    carrier = pack_name(DATA, record.carriers[data[0].runs[0].carrier])
    if harm == "gone":
        lose(world, carrier)
    else:
        bad = data[0].runs[0].at + 20
        good = world.memory.objects[carrier]
        world.memory.objects[carrier] = good[:bad] + bytes([good[bad] ^ 1]) + good[bad + 1 :]
        one_is_bad(world, data[0].pack)
    world.later(4)
    world.prune()
    assert pack_name(DATA, data[0].pack) in world.objects("packs/")
    for name in list(world.objects("places/")):  # as if nobody had pruned for two days
        world.memory._modified[name] -= 2 * DAY
    found = repair(world)
    assert found.lost == 0 and found.rows.back and not found.rows.broken
    world.check()
    world.forget(names[1])
    world.settle()
    world.check()
