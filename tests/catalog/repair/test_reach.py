"""What a repair follows: values out of line, streams, long files, points of machines that share packs."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from catalog.errors import NotFound
from catalog.format.blocks import PackKind
from catalog.format.nodes import Node
from catalog.format.packs import Extent, pack_name
from catalog.format.records import Machine
from catalog.format.windows import Stream, Windows
from catalog.places import Places
from catalog.repair.examine import Found, Wanted
from catalog.repair.run import Repair
from catalog.repair.state import Signer
from catalog.screen.phases import NoFollower
from catalog.signing import signing_key
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from tests.catalog.repair.worlds import lost_names
from tests.kit.drives import MACHINE, Maker, add_item, add_machine, add_point
from tests.kit.mover import with_admin
from tests.kit.vaultmaker import open_empty

DATA, TREE = PackKind.DATA, PackKind.TREE
OTHER = bytes(range(50, 66))
READ_ALL = Wanted(read_all=True)


class World:
    """A vault made by hand."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.vault = with_admin(open_empty(self.memory))
        add_machine(self.vault)
        add_item(self.vault)
        self.maker = Maker(self.vault)

    def commit(self, *nodes: Node) -> None:
        add_point(self.vault, self.maker.root(list(nodes)), 1)

    def opened(self) -> Vault:
        vault = Vault(self.memory, self.vault.keys, self.vault.file)
        vault.places = Places(vault.store, vault.signed, sleep=lambda seconds: None)
        return vault

    def spoil(self, kind: PackKind, at: Extent) -> None:
        data = bytearray(self.memory.objects[pack_name(kind, at.pack)])
        data[at.offset + 9] ^= 1
        self.memory.objects[pack_name(kind, at.pack)] = bytes(data)

    def repair(self, machine: str | None = None, *, write: bool = True) -> Sequence[Found]:
        vault = self.opened()
        runs, found = Repair(vault, machine, READ_ALL, NoFollower()), []
        for examination in runs.examinations():
            found.append(examination.run())
            if write:
                runs.carry_out(examination, found[-1], Signer(*signing_key(vault), bytes(16)), acknowledge=False)
            examination.close()
        return found


@pytest.fixture
def world() -> World:
    return World()


def test_a_value_out_of_line(world: World) -> None:
    value = os.urandom(9_000)
    out = world.maker.out_of_line(value)
    world.maker.trees.finish()  # the value is in a pack of its own
    at = world.maker.trees.resolve(out.at)
    tagged = world.maker.node(b"tagged", xattrs={b"user.big": type(out)(at)}, content=[])
    world.commit(world.maker.node(b"plain", content=[]), tagged)
    world.spoil(TREE, at)
    (found,) = world.repair()
    assert lost_names(found) == {"tagged"} and found.lost == 1
    assert [row.pack for row in found.acknowledged] == [at.pack]
    world.maker.trees.forget()
    world.maker.out_of_line(value)
    world.maker.trees.finish()
    (found,) = world.repair()
    assert (found.lost, found.healed) == (0, 1)


def test_streams_and_long_files(world: World) -> None:
    """Of each kind of content one chunk is lost; others of their files are not."""
    pieces = [world.maker.data.block([os.urandom(2_000)])[0] for _ in range(90)]
    (stream,) = world.maker.data.block([os.urandom(3_000)])
    world.maker.data.finish()
    long = world.maker.node(b"long", size=180_000, content=world.maker.trees.pieces(pieces))
    windows = Windows(attributes=32, streams=[Stream("more", 3_000, [stream])])
    streamed = world.maker.node(b"streamed", windows=windows, content=[])
    world.commit(long, streamed, world.maker.file(b"whole", os.urandom(5_000)))
    for at in (pieces[70], pieces[71], stream):
        world.spoil(DATA, at)
    (found,) = world.repair()
    assert lost_names(found) == {"long", "streamed"} and found.lost == 3
    assert {row.offset for row in found.rows.broken} == {pieces[70].offset, pieces[71].offset, stream.offset}


def test_points_of_a_machine_that_shares_the_pack(world: World) -> None:
    """A lost pack is that of one machine; all points that refer to it are named, and their own packs left alone."""
    vault = world.vault
    shared = world.maker.file(b"shared", os.urandom(5_000))
    world.commit(shared, world.maker.file(b"own", os.urandom(5_000)))
    vault.add_machine(Machine(id=OTHER, name="other", hostname="o", system="Linux", created=1, shares=[MACHINE]))
    other = Maker(vault)
    other.trees.machine = OTHER
    tree = other.root([shared, other.node(b"empty", content=[])])
    add_point(vault, tree, 1, machine=OTHER, machine_name="other")
    assert isinstance(shared.content, list) and isinstance(shared.content[0], Extent)
    world.spoil(DATA, shared.content[0])
    with pytest.raises(NotFound):
        world.repair("nobody", write=False)
    (found,) = world.repair("other", write=False)
    assert found.is_clean, "nothing of its own is lost"
    (found,) = world.repair("box")
    assert found.machine == MACHINE and lost_names(found) == {"shared"} and found.losses.points == 2
    assert [one.machine for one in world.repair()] == [MACHINE, OTHER]


def test_a_shard_gets_the_rows_of_its_packs(world: World) -> None:
    """Where records of places are split, each says what is so of its own packs."""
    from tests.kit.mover import Mover

    nodes = [world.maker.file(b"f%02d" % n, os.urandom(900)) for n in range(24)]
    world.commit(*nodes)
    lost = [node.content[0] for node in nodes if isinstance(node.content, list)]
    digits = sorted({at.pack.hex()[10] for at in lost if isinstance(at, Extent)})[0]
    Mover(world.vault, world.memory, digits=digits).publish()
    for at in lost:
        assert isinstance(at, Extent)
        del world.memory.objects[pack_name(DATA, at.pack)]
    (found,) = world.repair()
    assert len(found.rows.broken) == 24
    records = {record.digits: record for record in world.opened().places.newest(MACHINE)}
    for shard, record in records.items():
        assert record.broken and all((row.pack.hex()[10] == digits) is (shard == digits) for row in record.broken)
    assert sum(len(record.broken) for record in records.values()) == 24


def test_a_malformed_entry_is_named(world: World) -> None:
    """It was written so: no copy helps, and pruning stops before it."""
    world.commit(world.maker.node(b"bad"), world.maker.node(b"good", content=[]))
    (found,) = world.repair()
    (remark,) = found.remarks
    assert "malformed entry" in remark and "/bad" in remark and not found.is_clean
