"""When it is not known what is live, the mark says so: nothing may be deleted then."""

from __future__ import annotations

import os
import random

import pytest

from catalog.direct import DirectSource
from catalog.format.blocks import PackKind
from catalog.format.nodes import Node
from catalog.format.packs import pack_name
from catalog.format.places import BrokenRow, PlacesRecord
from catalog.format.records import Machine, Point, PointName, Root
from catalog.format.values import OutOfLine, Subtree
from catalog.mark.faults import MOST_FAULTS, FaultKind
from catalog.mark.roots import find_roots
from catalog.mark.run import Marked, mark
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from tests.kit.drives import ITEM, add_machine
from tests.kit.faults import RefusingStore, spoilt
from tests.kit.vaultmaker import MACHINE, Packer, Trees, file_node, folder_node
from tests.kit.vaults import new_vault


class World:
    """A vault with the folder `inner`, whose page is in a tree pack of its own, in points that are added."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.vault: Vault = new_vault(self.memory)
        add_machine(self.vault)
        self.rng, self.trees = random.Random(1), Trees(self.vault)
        self.data = Packer(self.vault, PackKind.DATA)
        (self.at,) = self.data.block([b"content"])
        self.data.finish()
        self.inner = self.tree([self.file(b"file")])
        self.page = bytes(DirectSource(self.vault).chunk(self.inner.at))
        self.count = 0

    def file(self, name: bytes, size: int = 7) -> Node:
        return file_node(name, [self.at], size, self.rng)

    def tree(self, nodes: list[Node]) -> Subtree:
        return self.trees.root(self.trees.folder(nodes))

    def add(self, *, partial: bool = False, machine: bytes = MACHINE, more: tuple[Node, ...] = ()) -> PointName:
        self.count += 1
        nodes = sorted([folder_node(b"inner", self.inner, self.rng), *more], key=lambda node: node.name)
        root = self.tree(nodes)
        point = Point(
            id=os.urandom(16), machine=machine, item=ITEM, machine_name="box", item_name="home", hostname="box",
            system="Linux", sequence=self.count, time=self.count * 10**9, finished=0, paths=[], partial=partial,
            root=Root.of(root),
        )  # fmt: skip
        self.vault.add_point(point)
        return PointName.of(point)

    def mark(self, **more: list[PlacesRecord]) -> Marked:
        return mark(self.vault, find_roots(self.vault), **more)  # type: ignore[arg-type]

    def name(self) -> str:
        return pack_name(PackKind.TREE, self.inner.at.pack)

    def spoil(self) -> None:
        at, data = self.inner.at, self.memory.objects[self.name()]
        self.memory.objects[self.name()] = data[: at.offset] + bytes(at.stored) + data[at.offset + at.stored :]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("catalog.places.PATIENCE", 0.0)
    return World()


def kinds(marked: Marked) -> list[FaultKind]:
    return [fault.kind for fault in marked.faults]


def test_a_page_that_can_not_be_read_hides_what_is_live(world: World) -> None:
    first, second = world.add(), world.add()
    world.spoil()
    marked = world.mark()
    assert marked.is_blind and kinds(marked) == [FaultKind.PAGE]
    (fault,) = marked.damaged
    assert (fault.path, set(fault.points)) == (b"inner", {first, second})


@pytest.mark.parametrize("partial", [False, True])
def test_a_pack_that_the_store_refuses_hides_it_also_for_a_partial_point(world: World, partial: bool) -> None:
    world.add(partial=partial)
    refusing = RefusingStore(world.memory, {"read"}, world.name())
    with mark(Vault(refusing, world.vault.keys, world.vault.file), find_roots(world.vault)) as marked:
        assert marked.is_blind


def test_a_pack_that_is_lost_hides_it(world: World) -> None:
    world.add()
    kept = world.memory.objects.pop(world.name())
    assert world.mark().is_blind
    world.memory.objects[world.name()] = kept
    assert not world.mark().is_blind


def test_what_is_acknowledged_as_lost_hides_nothing(world: World) -> None:
    world.add()
    world.spoil()
    at = world.inner.at
    for offset in (at.offset, None):
        row = BrokenRow(at.pack, int(PackKind.TREE), offset, 1, "the disk")
        places = [PlacesRecord(series=MACHINE[:4], number=1, by=MACHINE, began=1, broken=[row])]
        marked = world.mark(places=places)
        assert not marked.is_blind and not marked.damaged
        assert [fault.acknowledged for fault in marked.faults] == [True]
    row = BrokenRow(at.pack, int(PackKind.DATA), None, 1, "another kind")
    assert world.mark(
        places=[PlacesRecord(series=MACHINE[:4], number=1, by=MACHINE, began=1, broken=[row])]
    ).is_blind


def test_a_partial_point_that_is_surely_damaged_is_no_root(world: World) -> None:
    name = world.add(partial=True)
    world.spoil()
    marked = world.mark()
    assert not marked.is_blind and kinds(marked) == [FaultKind.PAGE]
    world.add()
    assert world.mark().is_blind
    world.memory.objects[str(name)] = spoilt(world.memory.objects[str(name)])
    assert find_roots(world.vault).unread == []


def test_a_partial_point_that_is_out_of_reach_stays_a_root(world: World) -> None:
    newer = world.inner.at._replace(pack=world.inner.at.pack[:4] + b"\1" + world.inner.at.pack[5:])
    world.memory.objects[pack_name(PackKind.TREE, newer.pack)] = world.memory.objects[world.name()]
    world.inner = world.inner._replace(at=newer)
    world.add(partial=True)
    assert world.mark().is_blind


def test_a_record_that_can_not_be_read_hides_what_its_point_refers_to(world: World) -> None:
    name = world.add()
    world.memory.objects[str(name)] = spoilt(world.memory.objects[str(name)])
    marked = world.mark()
    assert marked.is_blind and kinds(marked) == [FaultKind.POINT] and marked.faults[0].points == (name,)


def test_a_pack_of_a_machine_that_is_not_shared_hides_it(world: World) -> None:
    other = b"\x66" * 16
    world.vault.add_machine(Machine(id=other, name="other", hostname="o", system="Linux", created=1))
    world.add(machine=other)
    marked = world.mark()
    assert marked.is_blind and set(kinds(marked)) == {FaultKind.STRANGER}
    world.vault.add_machine(
        Machine(id=other, name="other", hostname="o", system="Linux", created=1, shares=[MACHINE]), 2
    )
    assert not world.mark().faults


def test_a_page_that_one_machine_may_refer_to_is_looked_at_again_for_another(world: World) -> None:
    other = b"\x66" * 16
    world.vault.add_machine(Machine(id=other, name="other", hostname="o", system="Linux", created=1))
    world.add()
    assert not world.mark().faults
    world.add(machine=other)
    assert world.mark().is_blind


def test_many_harmless_faults_do_not_hide_the_one_that_counts(world: World) -> None:
    wrong = tuple(
        folder_node(b"a%03d" % n, world.tree([world.file(b"f%03d" % n, 8)]), world.rng)
        for n in range(2 * MOST_FAULTS)
    )
    world.add(more=wrong)
    marked = world.mark()
    assert not marked.is_blind and kinds(marked) == [FaultKind.TREE] * MOST_FAULTS
    world.spoil()
    marked = world.mark()
    assert marked.is_blind and len(marked.damaged) == 1


def test_what_is_wrong_in_the_totals_hides_nothing(world: World) -> None:
    world.inner = world.inner._replace(totals=world.inner.totals._replace(entries=9))
    world.add()
    marked = world.mark()
    assert not marked.is_blind and kinds(marked) == [FaultKind.TREE]


def test_a_value_that_is_lost_hides_nothing(world: World) -> None:
    value = world.trees.write(os.urandom(5000))
    world.trees.finish()
    node = world.file(b"with")
    node.xattrs = {b"user.large": OutOfLine(world.trees.resolve(value))}
    world.add(more=(node,))
    del world.memory.objects[pack_name(PackKind.TREE, value.pack)]
    marked = world.mark()
    assert not marked.is_blind and kinds(marked) == [FaultKind.VALUE]
    assert dict(marked.live.spans(PackKind.TREE))[value.pack]


def test_the_same_page_at_another_place_is_read_there(world: World) -> None:
    """Equal pages have equal ids; a drive of the second point reads the second copy."""
    world.add()
    world.trees.forget()
    copied = world.trees.write(world.page)
    world.trees.finish()
    first, world.inner = world.inner.at, world.inner._replace(at=world.trees.resolve(copied))
    assert first.id == world.inner.at.id and first.pack != world.inner.at.pack
    world.add()
    assert not world.mark().faults
    world.spoil()
    assert world.mark().is_blind
