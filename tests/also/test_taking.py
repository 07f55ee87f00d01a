"""Taking what is lost from another place, in memory: small packs, every kind of damage, ends in its middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backup import pipeline
from catalog.repair.examine import Examination, Found, Wanted
from catalog.repair.run import Repair
from catalog.repair.state import Signer
from catalog.repair.taking import Copied, Taken, Taking
from catalog.screen.phases import NoFollower
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from tests.backup.test_places import World
from tests.catalog.repair.worlds import BY, DATA, TREE, Repairs
from tests.kit.faults import StopAtStore, Stopped

READ_ALL = Wanted(read_all=True)


class Copies(Repairs):
    """Repairs of a vault that has a copy."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.place = MemoryStore()
        self.place.objects.update(world.memory.objects)
        self.kept = dict(self.place.objects)
        self.whole = dict(world.memory.objects)

    def copy(self) -> Copied:
        return Copied("memory://copy", self.vault(self.place))

    @contextmanager
    def examined(self, store: Store | None = None) -> Iterator[tuple[Repair, Examination, Found, Taking]]:
        vault = self.vault(store)
        repair = Repair(vault, None, READ_ALL, NoFollower())
        (examination,) = repair.examinations()
        try:
            found = examination.run()
            yield repair, examination, found, Taking(vault, found.machine, [self.copy()], NoFollower())
        finally:
            examination.close()

    def take_all(self, store: Store | None = None) -> Found:
        """A whole repair with the copy, as `rpdrive repair --also` runs it."""
        vault = self.vault(store)
        repair = Repair(vault, None, READ_ALL, NoFollower())
        (examination,) = repair.examinations()
        signer = Signer(self.world.mover.admin, self.world.mover.private, BY)
        try:
            found = examination.run()
            while found.lost and Taking(vault, found.machine, [self.copy()], NoFollower()).take(examination):
                examination = examination.again()
                found = examination.run()
            if found.rows or found.rebuilt or found.unindexed:
                repair.carry_out(examination, found, signer, acknowledge=False)
            return found
        finally:
            examination.close()

    def assert_mended(self) -> None:
        self.assert_reads()
        assert self.place.objects == self.kept, "the copy is only read"
        assert not self.look(READ_ALL).lost


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copies:
    monkeypatch.setattr(pipeline, "PACK_TARGET", 20_000)
    monkeypatch.setattr(pipeline, "BLOCK_RAW", 5_000)
    monkeypatch.setattr(pipeline, "TREE_BLOCK_RAW", 500)
    return Copies(World(tmp_path))


def all_gone(copies: Copies) -> None:
    assert copies.remove("packs/") and copies.remove("meta/")


def rotten(copies: Copies) -> None:
    """A bit of each block of every other pack."""
    for kind in (DATA, TREE):
        for number in range(0, len(copies.world.mover.packs(kind)), 2):
            for row in copies.rows(kind, number):
                copies.rot(copies.name(kind, number), row.offset + 5)


def cut(copies: Copies) -> None:
    for kind in (DATA, TREE):
        name, row = copies.name(kind), copies.rows(kind)[0]
        copies.world.memory.objects[name] = copies.world.memory.objects[name][: row.offset + 5]


def mixed(copies: Copies) -> None:
    rows = copies.rows(DATA, 1)
    del copies.world.memory.objects[copies.name(DATA, 0)]
    copies.rot(copies.name(DATA, 1), rows[0].offset + 5)
    copies.remove("meta/")
    copies.remove("index/")


DAMAGE: list[Callable[[Copies], None]] = [all_gone, rotten, cut, mixed]


@pytest.mark.parametrize("damage", DAMAGE)
def test_all_is_whole_again(copies: Copies, damage: Callable[[Copies], None]) -> None:
    damage(copies)
    damaged = dict(copies.world.memory.objects)
    with copies.examined() as (_repair, examination, found, taking):
        assert found.lost and taking.look(examination), "what the copy has is known before anything is written"
    assert copies.world.memory.objects == damaged
    copies.take_all()
    copies.assert_mended()
    assert damaged.items() <= copies.world.memory.objects.items(), "nothing is replaced or deleted"
    again = {
        name: copies.whole[name] for name in copies.whole.keys() & copies.world.memory.objects.keys() - damaged
    }
    assert again.items() <= copies.world.memory.objects.items(), "what was missing has its old bytes"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("damage", [rotten, mixed])
def test_a_run_that_ends_anywhere_is_finished_by_the_next(
    copies: Copies, damage: Callable[[Copies], None], after: bool
) -> None:
    damage(copies)
    damaged = dict(copies.world.memory.objects)
    for at in range(1, 1000):
        copies.world.memory.objects.clear()
        copies.world.memory.objects.update(damaged)
        try:
            copies.take_all(StopAtStore(copies.world.memory, at, after=after, kinds=["create"]))
        except Stopped:
            copies.take_all()
            copies.assert_mended()
            continue
        copies.assert_mended()
        assert at > 3
        return
    raise AssertionError("it never came to its end")


def test_a_forged_pack_in_the_copy_is_not_taken(copies: Copies) -> None:
    """Its table of contents is as it was, and a block of it is not."""
    name, row = copies.name(), copies.rows()[1]
    del copies.world.memory.objects[name]
    data = bytearray(copies.place.objects[name])
    data[row.offset + 5] ^= 1
    copies.place.objects[name] = bytes(data)
    copies.kept = dict(copies.place.objects)
    found = copies.take_all()
    assert name not in copies.world.memory.objects, "it is not put back as it is there"
    assert 0 < found.lost < len(copies.rows()) + len(row.lengths), "the other blocks were taken, each by itself"


def test_a_copy_that_has_moved_its_blocks_helps_too(copies: Copies) -> None:
    """Upkeep at the source was copied, or the copy was promoted and pruned: the pack is in a carrier there."""
    copies.world.mover.move_all()
    copies.place.objects.clear()
    copies.place.objects.update(copies.world.memory.objects)
    copies.kept = dict(copies.place.objects)
    copies.remove("packs/")
    copies.take_all()
    copies.assert_mended()


def test_nothing_is_taken_that_is_not_lost(copies: Copies) -> None:
    with copies.examined() as (_repair, examination, found, taking):
        assert not found.lost and taking.look(examination) == taking.take(examination) == Taken()
    assert copies.world.memory.objects == copies.whole
