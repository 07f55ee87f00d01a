"""Packs that upkeep has moved, and whose own objects are still there, or again: a carrier may be lost, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup import pipeline
from catalog.check.group import Request
from catalog.check.job import check
from catalog.format.blocks import PackKind
from catalog.format.packs import pack_name
from catalog.format.places import LeavingRow
from catalog.repair.examine import Wanted
from catalog.store.base import Store
from catalog.vault import Vault
from tests.backup.test_places import World
from tests.catalog.repair.worlds import DATA, TREE, Repairs

READ_ALL = Wanted(read_all=True)
HOUR = 3600 * 10**9  # ns


class Informed(Repairs):
    """Its readers know the records of places, as they do after the first pack that is not where it was."""

    def vault(self, store: Store | None = None) -> Vault:
        vault = super().vault(store)
        vault.places.newest(self.world.id)
        return vault


@pytest.fixture
def repairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repairs:
    monkeypatch.setattr(pipeline, "PACK_TARGET", 20_000)
    monkeypatch.setattr(pipeline, "BLOCK_RAW", 5_000)
    monkeypatch.setattr(pipeline, "TREE_BLOCK_RAW", 500)
    return Informed(World(tmp_path))


def moved(repairs: Repairs, kind: PackKind) -> str:
    """Move all packs of a kind into one carrier, and keep their own objects. The name of the carrier."""
    mover = repairs.world.mover
    mover.merge(kind, mover.packs(kind), target=1 << 30)
    mover.publish()
    repairs.assert_reads(0)
    return pack_name(kind, mover.carriers[-1])


@pytest.mark.parametrize("damage", ["gone", "cut", "rotten"])
@pytest.mark.parametrize("kind", [DATA, TREE], ids=["data", "trees"])
def test_a_pack_is_read_from_its_own_object_again(repairs: Repairs, kind: PackKind, damage: str) -> None:
    objects, carrier = repairs.world.memory.objects, moved(repairs, kind)
    match damage:
        case "gone":
            del objects[carrier]
        case "cut":
            objects[carrier] = objects[carrier][: len(objects[carrier]) // 2]
        case "rotten":
            repairs.rot(carrier, len(objects[carrier]) // 2)
    assert not repairs.reads(0)
    assert repairs.look(READ_ALL).rows.back
    found, written = repairs.run(READ_ALL)
    assert (found.lost, found.rows.broken, found.rows.instead) == (0, [], []) and len(written.places) == 1
    repairs.assert_reads(0)
    left = repairs.look(READ_ALL)
    assert not left.rows and not left.lost
    assert left.is_clean or (damage == "cut" and carrier in left.remarks[0]), "some packs are read from it still"
    repairs.world.copy("c")
    outcome = repairs.backup()
    if (kind, damage) == (DATA, "gone"):
        assert outcome.progress.sent.new_bytes == 48_000, "what was moved once is not used again"


def test_what_is_bad_in_both_is_lost(repairs: Repairs) -> None:
    carrier = moved(repairs, DATA)
    for name in (carrier, repairs.name()):
        repairs.rot(name, 20)
    found, _written = repairs.run(READ_ALL)
    assert found.lost == 2 and not found.rows.back and len(found.rows.broken) == 1
    assert not repairs.reads(0)


def test_an_object_that_may_be_about_to_be_deleted_is_not_relied_on(repairs: Repairs) -> None:
    carrier, mover, memory = moved(repairs, DATA), repairs.world.mover, repairs.world.memory
    leaving = [LeavingRow(pack, int(DATA), memory.now() - 80 * HOUR) for pack in mover.packs(DATA)]
    (record,) = repairs.vault().places.newest(mover.machine)
    repairs.world.add(carriers=record.carriers, moved=record.moved, leaving=leaving)
    del memory.objects[carrier]
    found = repairs.look()
    assert found.lost and not found.rows.back and "repair again in two days" in found.remarks[0]
    last = max(name for name in memory.objects if name.startswith("places/"))
    for name in [name for name in memory.objects if name.startswith("places/")]:
        memory._modified[name] -= 43 * HOUR
    assert last and repairs.look().rows.back
    repairs.run()
    repairs.assert_reads(0)


@pytest.mark.parametrize("kind", [DATA, TREE], ids=["data", "trees"])
@pytest.mark.parametrize("where", ["header", "contents", "trailer"])
def test_a_bad_table_of_contents_is_named(repairs: Repairs, kind: PackKind, where: str) -> None:
    """Of a pack, and of a carrier: nothing is lost, and it can't be made anew."""
    memory = repairs.world.memory
    for is_carrier in (False, True):
        name = moved(repairs, kind) if is_carrier else repairs.name(kind)
        whole, size = memory.objects[name], len(memory.objects[name])
        repairs.rot(name, {"header": 0, "contents": size - 20, "trailer": size - 1}[where])
        found = repairs.look(READ_ALL)
        assert (found.lost, bool(found.rows), found.is_clean) == (0, False, False)
        (line,) = found.remarks
        assert name in line and "no file needs it" in line
        assert line.endswith("put the object of another copy of the vault in its place, if there is one")
        repairs.assert_reads(0)
        assert repairs.look().is_clean, "nothing says that it should be read"
        memory.objects[name] = whole
        assert repairs.look(READ_ALL).is_clean


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_what_a_carrier_has_lost_is_known_after_a_repair(repairs: Repairs, tmp_path: Path, damage: str) -> None:
    objects, carrier = repairs.world.memory.objects, moved(repairs, DATA)
    for name in [pack_name(DATA, pack) for pack in repairs.world.mover.packs(DATA)]:
        del objects[name]
    if damage == "gone":
        del objects[carrier]
    else:
        objects[carrier] = objects[carrier][: len(objects[carrier]) // 2]
    for is_repaired in (False, True):
        if is_repaired:
            assert repairs.run()[0].lost
        report = check(repairs.vault(), Request(1), tmp_path / "state")
        packs = [finding for finding in report.findings if finding.kind is not None]
        assert report.harmed and packs
        assert {finding.is_damage for finding in packs} == {not is_repaired}
