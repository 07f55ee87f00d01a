"""Packs whose blocks were moved into carriers: read at their new place, with few requests, by every reader."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cache.reader import Reader
from catalog.direct import DirectSource
from catalog.errors import Damaged, MissingData, ShortRead, StoreUnreachable
from catalog.format.blocks import PackKind
from catalog.format.carriers import CarrierBuilder, decode_carrier
from catalog.format.packs import Extent, pack_name
from catalog.format.places import places_named
from catalog.format.records import Point
from catalog.format.values import NodeKind
from catalog.places import FRESH, PATIENCE, Places, run_at
from catalog.store.retrying import RetryingStore
from catalog.tree import PageSource, walk
from catalog.vault import Vault
from tests.kit.faults import UnreachableStore
from tests.kit.mover import Mover, with_admin
from tests.kit.restoring import a_point, restore
from tests.kit.stores import MOST
from tests.kit.vaultmaker import MACHINE, Packer, Trees, file_node, open_empty
from tests.kit.vaults import Remote

FILES = 12


class Clock:
    """Time for a vault's Places: it passes when the test says so, or when they wait."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waited: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds
        self.on_sleep()

    def on_sleep(self) -> None:
        """What happens while somebody waits."""


class World:
    """A vault of a folder of files, each in a pack of its own, and upkeep beside it."""

    def __init__(self) -> None:
        self.remote = Remote(lambda store: with_admin(open_empty(store)))
        self.vault: Vault = self.remote.vault
        self.remote.meter.log = []
        rng = random.Random(1)
        self.contents = {b"file %02d" % n: rng.randbytes(20_000) for n in range(FILES)}
        packer, trees = Packer(self.vault, PackKind.DATA), Trees(self.vault)
        self.extents: dict[bytes, Extent] = {}
        for name, content in self.contents.items():
            (self.extents[name],) = packer.block([content])
            packer.finish()
        nodes = [file_node(name, [at], at.length, random.Random(0)) for name, at in sorted(self.extents.items())]
        self.point: Point = a_point(trees.root(trees.folder(nodes)))
        self.mover = Mover(self.vault, self.remote.memory)
        self.clock = Clock()

    def opened(self) -> Vault:
        """The vault as another process opens it, with a clock of the test."""
        vault = Vault(self.remote.meter, self.vault.keys, self.vault.file)
        vault.places = Places(vault.store, vault.signed, sleep=self.clock.sleep, clock=lambda: self.clock.now)
        return vault

    def log(self, since: int = 0) -> list[str]:
        """The requests since an earlier one, as `read packs` or `list places`."""
        requests = self.remote.meter.log or []
        return [f"{r.kind} {r.name.split('/')[0]}" for r in requests[since:]]

    def mark(self) -> int:
        return len(self.log())


@pytest.fixture
def world() -> World:
    return World()


def names(source: PageSource, point: Point) -> list[bytes]:
    assert point.root is not None
    return [path for path, _found in walk(source, point.root.subtree())]


def contents(reader: Reader, point: Point) -> dict[bytes, bytes]:
    assert point.root is not None
    return {
        path: bytes(reader.open(f.leaf.pieces(f.entry), f.entry.size).read(0, f.entry.size))
        for path, f in walk(reader, point.root.subtree())
        if f.entry.kind == NodeKind.FILE
    }


def all_read(world: World, vault: Vault, out: Path) -> None:
    """Every reader finds everything."""
    assert names(DirectSource(vault), world.point) == sorted(world.contents)
    for name, at in world.extents.items():
        assert vault.open_block(PackKind.DATA, at, vault.fetch_block(PackKind.DATA, at)) == world.contents[name]
    reader = Reader(vault)
    try:
        assert contents(reader, world.point) == world.contents
    finally:
        reader.close()
    assert restore(vault, world.point, out).damaged == 0
    assert {p.name.encode(): p.read_bytes() for p in out.iterdir()} == world.contents


# --- cut packs ---------------------------------------------------------------------------------------------


def test_a_cut_pack_is_no_transfer_to_repeat(world: World) -> None:
    """Whoever reads a block beyond the end is told so by the first answer."""

    def never(seconds: float) -> None:
        raise AssertionError("waited")

    root = world.point.root
    assert root is not None
    for kind, at in ((PackKind.DATA, world.extents[b"file 03"]), (PackKind.TREE, root.subtree().at)):
        name = pack_name(kind, at.pack)
        world.remote.memory.objects[name] = world.remote.memory.objects[name][: at.offset + at.stored - 1]
        vault = Vault(RetryingStore(world.remote.memory, pause=never), world.vault.keys, world.vault.file)
        with pytest.raises(ShortRead):
            vault.fetch_block(kind, at)
    with pytest.raises(ShortRead):
        DirectSource(vault).chunk(at)
    DirectSource(vault).ready([at, at._replace(offset=at.offset + 1)])


def test_a_cut_pack_has_other_copies_too(world: World) -> None:
    """A reader that has no record yet looks for one, as for a block that is missing."""
    packer, content = Packer(world.vault, PackKind.DATA), world.contents[b"file 03"]
    (copy,), lost = packer.block([content]), world.extents[b"file 03"]
    packer.finish()
    name = pack_name(PackKind.DATA, lost.pack)
    world.remote.memory.objects[name] = world.remote.memory.objects[name][: lost.offset + 9]
    world.mover.replace(lost, copy)
    world.mover.publish()
    reader = Reader(world.opened())
    try:
        assert reader.chunk(PackKind.DATA, lost) == content
    finally:
        reader.close()


# --- merged, cut, moved again ------------------------------------------------------------------------------


def test_every_reader_finds_merged_packs(world: World, tmp_path: Path) -> None:
    world.mover.move_all()
    all_read(world, world.opened(), tmp_path / "out")
    assert world.clock.waited == []


def test_what_carriers_hold_is_as_the_page_says(world: World) -> None:
    packs = world.mover.packs(PackKind.DATA)
    tables = {pack: world.mover._blocks(PackKind.DATA, pack) for pack in packs}
    world.mover.merge(PackKind.DATA, packs)
    (carrier,) = world.mover.carriers
    data, at = world.remote.memory.get(pack_name(PackKind.DATA, carrier), MOST), 8
    assert data[:8] == b"RPDCARR\x01"
    held = decode_carrier(world.vault.keys, PackKind.DATA, carrier, data)
    assert [h.pack for h in held] == packs
    for h in held:
        blocks, rows = tables[h.pack]
        assert h.blocks == rows
        for row in rows:
            assert data[at : at + row.stored] == blocks[row.offset]
            at += row.stored
    with pytest.raises(Damaged):
        decode_carrier(world.vault.keys, PackKind.TREE, carrier, data)


def test_a_cut_pack_has_its_living_blocks(tmp_path: Path) -> None:
    world = World()
    packer = Packer(world.vault, PackKind.DATA)
    chunks = [random.Random(n).randbytes(5_000) for n in range(9)]
    places = [packer.block([chunk])[0] for chunk in chunks]
    packer.finish()
    pack = places[0].pack
    dead = {places[n].offset for n in (0, 3, 4, 8)}
    world.mover.cut(PackKind.DATA, pack, lambda row: row.offset not in dead)
    assert len(world.mover.moved[PackKind.DATA, pack]) == 2
    world.mover.publish()
    world.mover.delete(PackKind.DATA, [pack])
    vault = world.opened()
    reader = Reader(vault)
    for chunk, at in zip(chunks, places, strict=True):
        if at.offset in dead:
            for read in (
                lambda at=at: vault.fetch_block(PackKind.DATA, at),
                lambda at=at: reader.chunk(PackKind.DATA, at),
            ):
                with pytest.raises(MissingData, match=f"the pack {pack_name(PackKind.DATA, pack)} is missing"):
                    read()
        else:
            assert reader.chunk(PackKind.DATA, at) == chunk
            assert vault.open_block(PackKind.DATA, at, vault.fetch_block(PackKind.DATA, at)) == chunk
    reader.close()
    low, high = places[1].offset, places[2].offset + places[2].stored
    assert len(vault.read_pack(PackKind.DATA, pack, low, high - low)) == high - low
    assert len(vault.read_pack(PackKind.DATA, pack, low, 1 << 20, up_to=True)) == high - low
    with pytest.raises(MissingData):
        vault.read_pack(PackKind.DATA, pack, low, high - low + 1)


def test_packs_that_move_again_while_a_reader_is_open(world: World, tmp_path: Path) -> None:
    world.mover.move_all()
    vault = world.opened()
    reader = Reader(vault, memory=1 << 20)
    assert contents(reader, world.point) == world.contents
    for _round in range(3):
        world.clock.now += FRESH
        for kind in (PackKind.DATA, PackKind.TREE):
            world.mover.move_again(kind)
        all_read(world, vault, tmp_path / f"out {_round}")
        reader.close()
        reader = Reader(vault, memory=1 << 20)
        assert contents(reader, world.point) == world.contents
    reader.close()
    assert world.clock.waited == []


def test_a_table_that_moved_again_at_once_is_found_after_a_wait(world: World) -> None:
    world.mover.move_all()
    vault = world.opened()
    at = next(iter(world.extents.values()))
    vault.fetch_block(PackKind.DATA, at)
    world.mover.move_again(PackKind.DATA)
    vault.fetch_block(PackKind.DATA, at)
    assert world.clock.waited == [PATIENCE]


def test_an_original_that_is_still_there_is_read(world: World) -> None:
    """Between the record and the deletion, a day later, both copies exist."""
    packs = world.mover.packs(PackKind.DATA)
    world.mover.merge(PackKind.DATA, packs)
    world.mover.publish()
    vault, mark = world.opened(), world.mark()
    for at in world.extents.values():
        vault.fetch_block(PackKind.DATA, at)
    assert world.log(mark) == ["read packs"] * FILES


# --- requests ------------------------------------------------------------------------------


def test_a_moved_series_costs_one_listing_and_one_record_once(world: World) -> None:
    world.mover.move_all()
    vault, mark = world.opened(), world.mark()
    ats = list(world.extents.values())
    vault.fetch_block(PackKind.DATA, ats[0])
    assert world.log(mark) == ["read packs", "list places", "get places", "read packs"]
    mark = world.mark()
    for at in ats[1:]:
        vault.fetch_block(PackKind.DATA, at)
    assert world.log(mark) == ["read packs"] * (FILES - 1)
    source = DirectSource(vault)
    mark = world.mark()
    assert names(source, world.point) == sorted(world.contents)
    assert world.log(mark) == ["read meta"]


def test_neighbours_in_a_carrier_are_one_request(world: World, tmp_path: Path) -> None:
    world.mover.move_all()
    vault = world.opened()
    reader = Reader(vault)
    mark = world.mark()
    assert names(reader, world.point) == sorted(world.contents)
    assert world.log(mark) == ["read meta", "list places", "get places", "read meta"]
    mark = world.mark()
    reader.expect(list(world.extents.values()))
    assert contents(reader, world.point) == world.contents
    assert world.log(mark) == ["read packs"]
    reader.close()
    mark = world.mark()
    restore(vault, world.point, tmp_path / "out")
    assert world.log(mark) == ["read meta", "read packs"]


def test_a_restore_of_many_packs_looks_before_it_plans(world: World, tmp_path: Path) -> None:
    """Data packs were merged, but the tree packs were not: nothing has told the reader yet."""
    packs = world.mover.packs(PackKind.DATA)
    world.mover.merge(PackKind.DATA, packs)
    world.mover.publish()
    world.mover.delete(PackKind.DATA, packs)
    mark = world.mark()
    restore(world.opened(), world.point, tmp_path / "out")
    assert world.log(mark)[:3] == ["read meta", "list places", "get places"]
    assert sorted(set(world.log(mark)[3:])) == ["read packs"]
    assert len(world.log(mark)) <= 3 + 1 + 8


def test_a_pack_that_is_gone_costs_two_listings_once(world: World) -> None:
    vault, (first, second, *_rest) = world.opened(), world.extents.values()
    world.mover.delete(PackKind.DATA, [first.pack, second.pack])
    mark = world.mark()
    for _again in range(3):
        for at in (first, second):
            with pytest.raises(MissingData, match=f"^the pack {pack_name(PackKind.DATA, at.pack)} is missing"):
                vault.fetch_block(PackKind.DATA, at)
    assert world.log(mark) == ["read packs", "list places", "list places", *["read packs"] * 5]
    assert world.clock.waited == [PATIENCE]
    world.clock.now += FRESH
    with pytest.raises(MissingData):
        vault.fetch_block(PackKind.DATA, first)
    assert world.clock.waited == [PATIENCE] * 2


def test_a_listing_that_is_behind_is_repeated(world: World) -> None:
    packs = world.mover.packs(PackKind.DATA)
    world.mover.merge(PackKind.DATA, packs)
    world.mover.delete(PackKind.DATA, packs)
    vault = world.opened()
    world.clock.on_sleep = world.mover.publish  # type: ignore[method-assign,assignment]
    for name, at in world.extents.items():
        sealed = vault.fetch_block(PackKind.DATA, at)
        assert vault.open_block(PackKind.DATA, at, sealed) == world.contents[name]
    assert world.clock.waited == [PATIENCE]


def test_many_threads_look_once(world: World) -> None:
    world.mover.move_all()
    vault, ats = world.opened(), list(world.extents.values())
    begin, errors = threading.Barrier(len(ats)), list[BaseException]()

    def read(at: Extent) -> None:
        begin.wait()
        try:
            vault.fetch_block(PackKind.DATA, at)
        except BaseException as e:  # noqa: BLE001 - asserted below
            errors.append(e)

    mark = world.mark()
    threads = [threading.Thread(target=read, args=(at,)) for at in ats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    log = world.log(mark)
    assert (log.count("list places"), log.count("get places")) == (1, 1)


def test_a_store_that_goes_away_is_no_missing_pack(world: World) -> None:
    world.mover.move_all()
    away = UnreachableStore(world.remote.memory, reachable=True)
    vault = Vault(away, world.vault.keys, world.vault.file)
    at = next(iter(world.extents.values()))
    vault.places.look(at.pack)
    away.reachable = False
    with pytest.raises(StoreUnreachable):
        vault.fetch_block(PackKind.DATA, at)
    fresh = Vault(away, world.vault.keys, world.vault.file)
    with pytest.raises(StoreUnreachable):
        fresh.fetch_block(PackKind.DATA, at)


# --- another copy ------------------------------------------------------------------------------


def lose(world: World, at: Extent) -> None:
    world.mover.delete(PackKind.DATA, [at.pack])


def spoil(world: World, at: Extent) -> None:
    name = pack_name(PackKind.DATA, at.pack)
    data = bytearray(world.remote.memory.objects[name])
    data[at.offset + 100] ^= 1
    world.remote.memory.objects[name] = bytes(data)


@pytest.mark.parametrize("harm", [lose, spoil])
def test_a_lost_chunk_is_read_where_another_copy_is(
    world: World, tmp_path: Path, harm: Callable[[World, Extent], None]
) -> None:
    lost = world.extents[b"file 03"]
    packer = Packer(world.vault, PackKind.DATA)
    _other, copy = packer.block([b"something else", world.contents[b"file 03"]])
    packer.finish()
    harm(world, lost)
    vault = world.opened()
    report = restore(vault, world.point, tmp_path / "before")
    assert report.damaged == 1
    world.mover.replace(lost, copy)
    world.mover.publish()
    world.clock.now += FRESH
    reader = Reader(vault)
    assert contents(reader, world.point) == world.contents
    mark = world.mark()
    assert contents(reader, world.point) == world.contents
    assert world.log(mark) == []
    reader.close()
    assert restore(world.opened(), world.point, tmp_path / "out").damaged == 0
    assert (tmp_path / "out" / "file 03").read_bytes() == world.contents[b"file 03"]


def test_a_lost_page_is_read_where_another_copy_is(world: World) -> None:
    assert world.point.root is not None
    root = world.point.root.subtree()
    page = DirectSource(world.vault).chunk(root.at)
    packer = Packer(world.vault, PackKind.TREE)
    (copy,) = packer.block([bytes(page)])
    packer.finish()
    world.mover.delete(PackKind.TREE, [root.at.pack])
    world.mover.replace(root.at, copy, PackKind.TREE)
    world.mover.publish()
    vault = world.opened()
    assert names(DirectSource(vault), world.point) == sorted(world.contents)
    reader = Reader(vault)
    assert names(reader, world.point) == sorted(world.contents)
    reader.close()


def test_a_copy_of_another_chunk_is_not_taken(world: World) -> None:
    lost, other = world.extents[b"file 03"], world.extents[b"file 04"]
    lose(world, lost)
    world.mover.replace(lost, other)
    world.mover.publish()
    reader = Reader(world.opened())
    with pytest.raises(MissingData):
        reader.chunk(PackKind.DATA, lost)
    reader.close()


def test_a_lost_copy_does_not_hide_the_original(world: World) -> None:
    at = world.extents[b"file 03"]
    gone = at._replace(pack=at.pack[:5] + bytes(11))
    world.mover.replace(at, gone)
    world.mover.publish()
    vault = world.opened()
    vault.places.look(at.pack)
    reader = Reader(vault)
    assert reader.chunk(PackKind.DATA, at) == world.contents[b"file 03"]
    reader.close()


# --- shards, and records that don't count ----------------------------------------------------------------


def test_shards_hold_the_packs_whose_ids_begin_so(world: World, tmp_path: Path) -> None:
    packs = world.mover.packs(PackKind.DATA)
    movers = {}
    for pack in packs:
        digits = pack.hex()[10:12]
        if digits not in movers:
            movers[digits] = Mover(world.vault, world.remote.memory, digits=digits)
            mine = movers[digits].packs(PackKind.DATA)
            movers[digits].merge(PackKind.DATA, mine)
            movers[digits].publish()
            movers[digits].delete(PackKind.DATA, mine)
    vault, mark = world.opened(), world.mark()
    vault.fetch_block(PackKind.DATA, world.extents[b"file 00"])
    assert world.log(mark) == ["read packs", "list places", "get places", "read packs"]
    all_read(world, vault, tmp_path / "out")
    assert world.log(mark).count("get places") == len(movers)
    records = vault.places.newest(MACHINE)
    assert sorted(r.digits for r in records) == sorted(movers)
    assert vault.places.newest(b"none" + bytes(12)) == []


def test_only_signed_records_count(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.mover.move_all()
    for number in range(2, 5):
        world.remote.memory.create(f"{world.mover.folder}{number:08d}", [b"junk"])
    vault = world.opened()
    for at in world.extents.values():
        vault.fetch_block(PackKind.DATA, at)
    assert "00000004 is passed over" in caplog.text
    for number in range(5, 103):
        world.remote.memory.create(f"{world.mover.folder}{number:08d}", [b"junk"])
    with pytest.raises(Damaged, match="is signed by an admin"):
        world.opened().fetch_block(PackKind.DATA, at)


def test_a_record_that_lies_is_damage_and_what_was_not_moved_is_read(world: World) -> None:
    world.mover.merge(PackKind.DATA, world.mover.packs(PackKind.DATA)[:1])
    kind, pack = next(iter(world.mover.moved))
    (run,) = world.mover.moved[kind, pack]
    world.mover.moved[kind, pack] = [run, run]
    world.mover.publish()
    world.mover.delete(PackKind.DATA, [pack])
    vault = world.opened()
    for at in world.extents.values():
        if at.pack != pack:
            vault.fetch_block(PackKind.DATA, at)
        else:
            with pytest.raises(Damaged, match="gives impossible places for pack"):
                vault.fetch_block(PackKind.DATA, at)


def test_names_of_records() -> None:
    assert places_named("places/00010203/00000007") == (bytes(range(4)), "", 7)
    assert places_named("places/00010203.a/100000000") == (bytes(range(4)), "a", 10**8)
    for name in (
        "places/00010203/7",
        "places/00010203.abcde/00000007",
        "places/00010203./00000007",
        "places/0001020/00000007",
        "places/00010203/00000007/x",
        "places/0001020G/00000007",
    ):
        assert places_named(name) is None


@pytest.fixture
def carrier(world: World) -> Iterator[CarrierBuilder]:
    yield CarrierBuilder(world.vault.keys, PackKind.DATA, MACHINE)


def test_an_empty_carrier_is_one(world: World, carrier: CarrierBuilder) -> None:
    data = b"".join(carrier.finish())
    assert decode_carrier(world.vault.keys, PackKind.DATA, carrier.id, data) == []
    assert run_at((), 8) is None
