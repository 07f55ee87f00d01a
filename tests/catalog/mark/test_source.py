"""Tree packs are read in large ranges: in any order the right bytes, in their own order each range once."""

from __future__ import annotations

import random

import pytest

from catalog.errors import Damaged, MissingData, StoreUnreachable
from catalog.format.blocks import PackKind
from catalog.format.packs import Extent, pack_name
from catalog.mark.source import RangeSource
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault
from tests.kit.faults import UnreachableStore
from tests.kit.mover import Mover
from tests.kit.vaultmaker import MACHINE, Packer
from tests.kit.vaults import new_vault

RANGE = 2000


class World:
    """Three tree packs of 30 blocks of about 500 bytes, and what is in each block."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.away = UnreachableStore(self.memory, reachable=True)
        self.meter = MeteredStore(self.away)
        self.vault: Vault = new_vault(self.meter)
        self.rng = random.Random(5)
        self.chunks: dict[Extent, bytes] = {}
        for _ in range(3):
            packer = Packer(self.vault, PackKind.TREE)
            for _ in range(30):
                data = self.rng.randbytes(self.rng.randrange(300, 700))
                self.chunks[packer.block([data])[0]] = data
            packer.finish()

    def reads(self) -> int:
        return self.meter.snapshot().read.requests

    def spoil(self, at: Extent) -> None:
        name = pack_name(PackKind.TREE, at.pack)
        data = self.memory.objects[name]
        self.memory.objects[name] = data[: at.offset] + bytes(at.stored) + data[at.offset + at.stored :]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("catalog.mark.source.RANGE", RANGE)
    monkeypatch.setattr("catalog.mark.source.BLOCKS", 1)
    monkeypatch.setattr("catalog.places.PATIENCE", 0.0)
    return World()


@pytest.mark.parametrize("kept", [1, 2, 3, 5])
@pytest.mark.parametrize("moved", [False, True])
def test_any_order_gives_the_right_bytes(
    world: World, kept: int, moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.mark.source.KEPT", kept * RANGE)
    if moved:
        Mover(world.vault, world.memory, MACHINE).move_all()
    order = [world.rng.choice(list(world.chunks)) for _ in range(400)]
    with RangeSource(world.vault) as source:
        for n, at in enumerate(order):
            if n % 7 == 0:
                source.ready(order[n : n + 3])
            assert bytes(source.chunk(at)) == world.chunks[at]


def test_in_the_order_of_packs_each_range_is_read_once(world: World) -> None:
    with RangeSource(world.vault) as source:
        for at, data in world.chunks.items():
            assert bytes(source.chunk(at)) == data
    touched = {(at.pack, n // RANGE) for at in world.chunks for n in range(at.offset, at.offset + at.stored)}
    sizes = [len(data) for name, data in world.memory.objects.items() if name.startswith("meta/")]
    # The end of a pack, with its table of contents, may be fetched ahead, too.
    assert len(touched) <= world.reads() <= sum(-(-size // RANGE) for size in sizes)


def test_a_small_pack_costs_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    with RangeSource(world.vault) as source:
        source.ready(list(world.chunks)[:40])
        for at, data in world.chunks.items():
            assert bytes(source.chunk(at)) == data
    assert world.reads() == 3


def test_damaged_blocks_are_fetched_once_more_and_cost_no_others(world: World) -> None:
    bad, lost = list(world.chunks)[7], list(world.chunks)[40]
    noted = []
    world.vault.on_damage = lambda kind, pack: noted.append((kind, pack))
    world.spoil(bad)
    del world.memory.objects[pack_name(PackKind.TREE, lost.pack)]
    with RangeSource(world.vault) as source:
        for at, data in world.chunks.items():
            if at.pack == lost.pack:
                with pytest.raises(MissingData):
                    source.chunk(at)
            elif at == bad:
                with pytest.raises(Damaged):
                    source.chunk(at)
            else:
                assert bytes(source.chunk(at)) == data
    assert noted == [(PackKind.TREE, bad.pack)]


def test_a_store_that_is_away_is_no_damage_and_may_come_back(world: World) -> None:
    with RangeSource(world.vault) as source:
        first, later = next(iter(world.chunks)), list(world.chunks)[70]
        world.away.reachable = False
        source.ready([later])
        with pytest.raises(StoreUnreachable):
            source.chunk(first)
        world.away.reachable = True
        for at in (first, later):
            assert bytes(source.chunk(at)) == world.chunks[at]
