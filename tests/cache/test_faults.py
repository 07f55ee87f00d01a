"""Faults while reading: each raises its own error, neighbours stay readable, and wrong bytes are never returned."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.disk import DiskCache
from cache.reader import Reader
from catalog.errors import Damaged, MissingData, ShortRead, StoreError, StoreUnreachable
from catalog.format.blocks import PackKind
from catalog.format.packs import Extent, pack_name
from catalog.format.pages import Leaf
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.store.retrying import RetryingStore
from catalog.store.wrapper import Request, StoreWrapper, T
from catalog.vault import Vault
from tests.kit.faults import FailOnceStore, TruncatingStore, UnreachableStore
from tests.kit.vaultmaker import Packer, Trees, file_node, open_empty


class World:
    """Six files of one block each in one pack, whose stored bytes tests can damage."""

    def __init__(self, wrap: Callable[[Store], Store] = lambda store: store) -> None:
        self.memory = MemoryStore()
        self.meter = MeteredStore(wrap(self.memory))
        self.vault = open_empty(self.meter)
        rng = random.Random(11)
        writing = Vault(self.memory, self.vault.keys, self.vault.file)
        data = Packer(writing, PackKind.DATA)
        self.chunks = [rng.randbytes(500_000) for _ in range(6)]
        self.extents = [data.block([c])[0] for c in self.chunks]
        data.finish()
        self.name = pack_name(PackKind.DATA, self.extents[0].pack)

    def flip(self, at: Extent) -> None:
        data = bytearray(self.memory.objects[self.name])
        data[at.offset + at.stored // 2] ^= 1
        self.memory.objects[self.name] = bytes(data)

    def read(self, reader: Reader, n: int) -> bytes:
        return bytes(reader.open([self.extents[n]], 500_000).read(0, 500_000))


def test_flipped_bit_is_damage_and_neighbours_read_on() -> None:
    world = World()
    world.flip(world.extents[2])
    reader = Reader(world.vault)
    for n in range(6):
        if n == 2:
            with pytest.raises(Damaged):
                world.read(reader, n)
        else:
            assert world.read(reader, n) == world.chunks[n]
    assert reader.status().verify_failures == 2  # it was fetched once more
    reader.close()


def test_damage_is_not_remembered() -> None:
    world = World()
    whole = world.memory.objects[world.name]
    world.flip(world.extents[2])
    reader = Reader(world.vault)
    with pytest.raises(Damaged):
        world.read(reader, 2)
    world.memory.objects[world.name] = whole
    assert world.read(reader, 2) == world.chunks[2]
    reader.close()


def test_extent_of_another_chunk() -> None:
    world = World()
    reader = Reader(world.vault)
    forged = world.extents[1]._replace(id=world.extents[3].id)
    with pytest.raises(Damaged):
        reader.open([forged], 500_000).read(0, 100)
    assert world.read(reader, 1) == world.chunks[1]
    with pytest.raises(Damaged):  # now that the block is in memory
        reader.open([forged], 500_000).read(0, 100)
    with pytest.raises(Damaged):
        reader.open([world.extents[1]._replace(inner=1)], 500_000).read(0, 100)
    with pytest.raises(Damaged):
        reader.open([world.extents[1]._replace(length=600_000)], 600_000).read(0, 100)
    assert world.read(reader, 1) == world.chunks[1]
    reader.close()


def test_missing_pack() -> None:
    world = World()
    del world.memory.objects[world.name]
    reader = Reader(world.vault)
    with pytest.raises(MissingData):
        world.read(reader, 0)
    reader.close()


def test_pack_cut_short_is_damage_and_not_retried() -> None:
    world = World(lambda store: RetryingStore(store, patience=600.0))
    cut = world.extents[3].offset + 1000
    world.memory.objects[world.name] = world.memory.objects[world.name][:cut]
    reader = Reader(world.vault)
    for n in range(3):
        assert world.read(reader, n) == world.chunks[n]
    for n in (3, 4, 5):
        with pytest.raises(Damaged):
            world.read(reader, n)
    reader.close()


def test_bad_copy_on_disk_is_replaced(tmp_path: Path) -> None:
    world = World()
    disk = DiskCache(tmp_path / "cache")
    reader = Reader(world.vault, disk=disk)
    assert world.read(reader, 0) == world.chunks[0]
    reader.close()
    assert disk.flush()
    (value,) = (tmp_path / "cache" / "data").glob("*/*/*.val")
    value.write_bytes(b"\0" * value.stat().st_size)
    reader = Reader(world.vault, disk=disk)
    before = world.meter.snapshot()
    assert world.read(reader, 0) == world.chunks[0]
    assert (world.meter.snapshot() - before).requests == 1
    assert reader.status().verify_failures == 1
    reader.close()
    assert disk.flush()
    reader = Reader(world.vault, disk=disk)
    assert world.read(reader, 0) == world.chunks[0]
    assert (world.meter.snapshot() - before).requests == 1
    reader.close()
    disk.close()


def test_unreachable_is_no_damage_and_temporary() -> None:
    away = UnreachableStore(MemoryStore(), reachable=True)

    def wrap(store: Store) -> Store:
        away.inner = store
        return away

    world = World(wrap)
    reader = Reader(world.vault)
    assert world.read(reader, 0) == world.chunks[0]
    away.reachable = False
    for _ in range(2):
        with pytest.raises(StoreUnreachable):
            world.read(reader, 4)
    assert world.read(reader, 0) == world.chunks[0]
    away.reachable = True
    for n in range(6):
        assert world.read(reader, n) == world.chunks[n]
    reader.close()


class HangingStore(StoreWrapper):
    """Reads return only after `go`."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.go = threading.Event()

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if request.kind == "read":
            self.go.wait()
        return call()


def test_a_hanging_store_ends_in_a_timeout() -> None:
    hanging = HangingStore(MemoryStore())

    def wrap(store: Store) -> Store:
        hanging.inner = store
        return hanging

    world = World(wrap)
    reader = Reader(world.vault, timeout=1.0)  # the last read has to end within it, however busy the machine is
    with pytest.raises(StoreUnreachable, match="no answer"):
        world.read(reader, 0)
    hanging.go.set()
    assert world.read(reader, 0) == world.chunks[0]
    reader.close()


def test_an_interrupted_transfer_is_a_store_error() -> None:
    world = World(lambda store: TruncatingStore(store, times=1))
    reader = Reader(world.vault)
    with pytest.raises(ShortRead) as caught:
        world.read(reader, 0)
    assert isinstance(caught.value, StoreError)
    assert world.read(reader, 0) == world.chunks[0]
    reader.close()


def test_retries_repair_temporary_faults() -> None:
    world = World(lambda store: RetryingStore(FailOnceStore(store), pause=lambda seconds: None))
    reader = Reader(world.vault)
    assert world.read(reader, 0) == world.chunks[0]
    reader.close()


def test_damage_ahead_of_a_read_does_not_affect_it() -> None:
    world = World()
    world.flip(world.extents[5])
    reader = Reader(world.vault)
    file = reader.open(list(world.extents), 3_000_000)
    for offset in range(0, 2_500_000, 100_000):
        n, inner = divmod(offset, 500_000)
        assert file.read(offset, 100_000) == world.chunks[n][inner : inner + 100_000]
    with pytest.raises(Damaged):
        file.read(2_500_000, 100)
    with pytest.raises(Damaged):  # not cut short before the damage either
        file.read(2_400_000, 200_000)
    reader.close()


def test_readers_of_one_block_share_one_fetch() -> None:
    hanging = HangingStore(MemoryStore())

    def wrap(store: Store) -> Store:
        hanging.inner = store
        return hanging

    world = World(wrap)
    reader = Reader(world.vault)
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(world.read(reader, 1))) for _ in range(12)]
    for thread in threads:
        thread.start()
    hanging.go.set()
    for thread in threads:
        thread.join()
    assert results == [world.chunks[1]] * 12
    assert world.meter.snapshot().read.requests == 1
    reader.close()


def test_a_closed_reader_raises_a_store_error() -> None:
    world = World()
    reader = Reader(world.vault)
    file = reader.open([world.extents[0]], 500_000)
    reader.close()
    with pytest.raises(StoreUnreachable):
        file.read(0, 10)


def test_pages_are_decoded_once_and_checked() -> None:
    memory = MemoryStore()
    vault = open_empty(memory)
    trees = Trees(vault)
    rng = random.Random(1)
    root = trees.root(trees.folder([file_node(b"a", [], 0, rng), file_node(b"b", [], 0, rng)]))
    reader = Reader(vault)
    leaf = reader.leaf(root.at)
    assert isinstance(leaf, Leaf)
    assert [e.name for e in leaf.entries] == [b"a", b"b"]
    assert reader.leaf(root.at) is leaf
    assert reader.chunk(PackKind.TREE, root.at).nbytes == root.at.length
    with pytest.raises(Damaged):
        reader.folder_index(root.at._replace(id=bytes(16)))
    with pytest.raises(Damaged):  # a tree block is not accepted as data
        Reader(vault).chunk(PackKind.DATA, root.at)
    reader.close()
