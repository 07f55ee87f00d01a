"""Reading packs to check them: every block in use, wherever it is, once, and what is wrong with it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from catalog.check.finding import Finding, What
from catalog.check.packs import READ, Target
from catalog.check.reading import Outcome, Reading
from catalog.format.blocks import PackKind
from catalog.format.packs import HEADER, Extent, decode_pack, pack_name
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault
from tests.kit.faults import TruncatingStore
from tests.kit.mover import Mover, with_admin
from tests.kit.stores import MOST
from tests.kit.vaultmaker import Packer, open_empty

DATA = PackKind.DATA


class World:
    """A vault with packs of a few blocks, and the rows of each pack's table of contents."""

    def __init__(self, packs: int = 3, blocks: int = 4, size: int = 3000) -> None:
        self.store = MemoryStore()
        self.meter = MeteredStore(self.store)
        self.vault = with_admin(open_empty(self.store), self.meter)
        packer, rng = Packer(self.vault, DATA), random.Random(1)
        self.extents: list[list[Extent]] = []
        for _ in range(packs):
            some = [packer.block([rng.randbytes(size), rng.randbytes(100), b"x" * size]) for _ in range(blocks)]
            self.extents += some
            packer.finish()
        self.packs = list(dict.fromkeys(e[0].pack for e in self.extents))
        self.rows = {p: decode_pack(self.vault.keys, DATA, p, self.bytes_of(p)) for p in self.packs}

    def bytes_of(self, pack: bytes) -> bytes:
        return self.store.get(pack_name(DATA, pack), MOST)

    def change(self, pack: bytes, at: int) -> None:
        """Flip a bit of a pack."""
        data = bytearray(self.bytes_of(pack))
        data[at] ^= 1
        self.store.objects[pack_name(DATA, pack)] = bytes(data)

    def cut(self, pack: bytes, size: int) -> None:
        self.store.objects[pack_name(DATA, pack)] = self.bytes_of(pack)[:size]

    def target(self, pack: bytes, *blocks: int) -> Target:
        """All of a pack's blocks, or these."""
        rows = self.rows[pack]
        if not blocks:
            return Target(DATA, pack, [(HEADER.size, rows[-1].offset + rows[-1].stored)])
        return Target(DATA, pack, [(rows[n].offset, rows[n].offset + rows[n].stored) for n in blocks])

    def targets(self) -> list[Target]:
        return [self.target(pack) for pack in self.packs]


def read(vault: Vault, targets: list[Target], most: int = READ) -> list[Outcome]:
    with Reading(vault, most=most, processors=2) as reading:
        outcomes = list(reading.run(targets))
    assert [o.target for o in outcomes] == targets
    return outcomes


def findings(outcomes: list[Outcome]) -> list[Finding]:
    return [finding for outcome in outcomes for finding in outcome.findings]


def test_one_request_reads_a_whole_pack() -> None:
    world = World()
    before = world.meter.snapshot()
    outcomes = read(world.vault, world.targets())
    spent = world.meter.snapshot() - before
    assert findings(outcomes) == []
    assert spent.requests == len(world.packs)
    assert spent.received == sum(len(world.bytes_of(pack)) for pack in world.packs)


@pytest.mark.parametrize("most", [READ, 5000])
def test_every_block_is_opened_once(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world, seen = World(blocks=7), list[tuple[bytes, int]]()
    from catalog.check import blocks

    opened: Callable[..., None] = blocks.check_block

    def noting(keys: object, kind: object, pack: bytes, row: object, sealed: object) -> None:
        seen.append((pack, row.offset))  # type: ignore[attr-defined]
        opened(keys, kind, pack, row, sealed)

    monkeypatch.setattr(blocks, "check_block", noting)
    assert findings(read(world.vault, world.targets(), most)) == []
    assert sorted(seen) == sorted((pack, row.offset) for pack in world.packs for row in world.rows[pack])


@pytest.mark.parametrize("most", [READ, 5000])
def test_a_flipped_bit_of_any_block_is_found(most: int) -> None:
    world = World(packs=2)
    for pack in world.packs:
        for row in world.rows[pack]:
            world.change(pack, row.offset + row.stored // 2)
            (found,) = findings(read(world.vault, world.targets(), most))
            assert (found.what, found.kind, found.pack) == (What.BLOCK, DATA, pack)
            assert (found.offset, found.stored) == (row.offset, row.stored)
            assert found.is_damage
            world.change(pack, row.offset + row.stored // 2)
    assert findings(read(world.vault, world.targets(), most)) == []


def test_dead_blocks_are_neither_read_nor_reported() -> None:
    world = World(packs=1, blocks=40, size=200_000)
    (pack,) = world.packs
    rows = world.rows[pack]
    world.change(pack, rows[20].offset + 5)
    before = world.meter.snapshot()
    assert findings(read(world.vault, [world.target(pack, 0, 1, 39)])) == []
    spent = world.meter.snapshot() - before
    assert spent.received < len(world.bytes_of(pack)) / 4
    (found,) = findings(read(world.vault, [world.target(pack, 0, 20)]))
    assert found.offset == rows[20].offset


@pytest.mark.parametrize("most", [READ, 5000])
def test_damage_outside_of_blocks_is_damage_of_the_contents(most: int) -> None:
    world = World(packs=1)
    (pack,) = world.packs
    end = world.rows[pack][-1].offset + world.rows[pack][-1].stored
    size = len(world.bytes_of(pack))
    for at in (0, 6, end, end + 5, size - 17, size - 16, size - 5, size - 1):
        world.change(pack, at)
        (outcome,) = read(world.vault, world.targets(), most)
        assert [f.what for f in outcome.findings] == [What.CONTENTS], at
        assert outcome.unlisted == world.target(pack).spans  # so each block is checked by what points say of it
        world.change(pack, at)


def test_what_points_refer_to_must_be_whole_blocks_of_the_contents() -> None:
    world = World(packs=1)
    (pack,) = world.packs
    rows = world.rows[pack]
    target = Target(DATA, pack, [(8, rows[0].stored + 8), (rows[2].offset + 1, rows[2].offset + rows[2].stored)])
    (outcome,) = read(world.vault, [target])
    assert [f.what for f in outcome.findings] == [What.CONTENTS]
    assert outcome.unlisted == target.spans[1:]


def test_a_pack_that_is_cut_has_no_contents() -> None:
    world = World(packs=2)
    world.cut(world.packs[0], world.rows[world.packs[0]][2].offset + 10)
    outcomes = read(world.vault, world.targets())
    assert [f.what for f in findings(outcomes)] == [What.CONTENTS]
    assert outcomes[0].unlisted


def test_a_missing_pack_is_one_finding() -> None:
    world = World(packs=2)
    world.vault.places._sleep = lambda _seconds: None
    world.store.delete(pack_name(DATA, world.packs[1]))
    (found,) = findings(read(world.vault, world.targets()))
    assert (found.what, found.pack, found.stored) == (What.MISSING, world.packs[1], 0)
    assert found.object == pack_name(DATA, world.packs[1])


def test_moved_blocks_are_read_where_they_are() -> None:
    world = World(packs=5)
    mover = Mover(world.vault, world.store)
    mover.merge(DATA, world.packs[:3])
    mover.cut(DATA, world.packs[3], lambda row: row.offset != world.rows[world.packs[3]][1].offset)
    mover.publish()
    mover.delete(DATA, world.packs[:4])
    world.vault.places.newest(world.packs[0])
    alive = [world.target(pack) for pack in (*world.packs[:3], world.packs[4])]
    targets = [*alive, world.target(world.packs[3], 0, 2, 3)]
    assert findings(read(world.vault, targets)) == []
    before = world.meter.snapshot()
    assert findings(read(world.vault, alive[:3])) == []
    assert (world.meter.snapshot() - before).requests == 5  # size and contents of the carrier, and each pack's run
    carrier = mover.carriers[0]
    world.change(carrier, 8 + world.rows[world.packs[0]][0].stored + 3)
    (found,) = findings(read(world.vault, targets))
    row = world.rows[world.packs[0]][1]
    assert (found.what, found.pack, found.offset, found.stored) == (
        What.BLOCK, world.packs[0], row.offset, row.stored,
    )  # fmt: skip


def test_blocks_that_move_meanwhile_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.places.PATIENCE", 0.0)
    world = World(packs=3)
    mover = Mover(world.vault, world.store)
    mover.move_all()  # this process has read no record of places yet
    assert findings(read(world.vault, world.targets())) == []


def test_a_cut_block_that_points_refer_to_is_unlisted() -> None:
    world = World(packs=1)
    (pack,) = world.packs
    mover = Mover(world.vault, world.store)
    mover.cut(DATA, pack, lambda row: row.offset != world.rows[pack][1].offset)
    mover.publish()
    mover.delete(DATA, [pack])
    world.vault.places.newest(pack)
    (outcome,) = read(world.vault, world.targets())
    row = world.rows[pack][1]
    assert outcome.unlisted == [(row.offset, row.offset + row.stored)]


def test_the_contents_of_a_carrier_are_checked() -> None:
    world = World(packs=2)
    mover = Mover(world.vault, world.store)
    mover.move_all()
    world.vault.places.newest(world.packs[0])
    world.change(mover.carriers[0], len(world.bytes_of(mover.carriers[0])) - 20)
    outcomes = read(world.vault, world.targets())
    assert {f.what for f in findings(outcomes)} == {What.CONTENTS}
    assert {f.pack for f in findings(outcomes)} == {mover.carriers[0]}
    assert [o.unlisted for o in outcomes] == [t.spans for t in world.targets()]


def test_a_transfer_that_broke_off_is_no_damage() -> None:
    world = World(packs=1)
    from catalog.errors import ShortRead, StoreError

    vault = Vault(TruncatingStore(world.store), world.vault.keys, world.vault.file)
    with pytest.raises((ShortRead, StoreError)):
        read(vault, world.targets())


def test_bad_bytes_of_one_transfer_are_read_again() -> None:
    world = World(packs=1)

    class FlipsOnce(MemoryStore):
        flipped = False

        def read(self, name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
            data = super().read(name, offset, length, up_to=up_to)
            if not self.flipped:
                self.flipped = True
                return data[:50] + bytes([data[50] ^ 1]) + data[51:]
            return data

    store = FlipsOnce()
    store.objects.update(world.store.objects)
    vault = Vault(store, world.vault.keys, world.vault.file)
    assert findings(read(vault, world.targets())) == []
    assert store.flipped


def test_a_pack_larger_than_one_request_is_read_in_parts() -> None:
    world = World(packs=1, blocks=30)
    before = world.meter.snapshot()
    assert findings(read(world.vault, world.targets(), most=20_000)) == []
    spent = world.meter.snapshot() - before
    assert spent.requests > 5
    assert spent.received < 1.2 * len(world.bytes_of(world.packs[0]))
