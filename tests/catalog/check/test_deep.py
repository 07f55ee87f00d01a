"""Levels 2 and 3: budgets, resuming, records, and what is found, on vaults with many small packs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from catalog.check import blocks, records
from catalog.check.deep import Deep, Done, Plan, Unlisted, acknowledged, plan_of
from catalog.check.finding import Finding, What
from catalog.check.slices import Span, oldest
from catalog.errors import StoreUnreachable
from catalog.format.blocks import PackKind, encode_frame
from catalog.format.checks import SLICES, PartRow, SliceRow
from catalog.format.packs import HEADER, PackBuilder, pack_name
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault
from tests.kit.faults import UnreachableStore
from tests.kit.vaultmaker import MACHINE, open_empty

DATA, TREE = PackKind.DATA, PackKind.TREE
OTHER = bytes(range(100, 116))
DAY = 86_400 * 10**9
TICK = 0.01  # seconds between two looks at the clock


class World:
    """A vault with two small data packs in each slice, a tree pack in every fourth, and all of it in use."""

    def __init__(self, slices: range = range(SLICES)) -> None:
        self.memory = MemoryStore()
        self.store = MeteredStore(self.memory)
        self.vault = open_empty(self.store)
        self.packs: dict[tuple[PackKind, bytes], list[Span]] = {}
        self.blocks: list[tuple[bytes, int]] = []
        self.clock = 0.0
        rng = random.Random(1)
        for n in slices:
            for kind, k in ((DATA, 0), (DATA, 1), *([(TREE, 2)] if n % 4 == 0 else [])):
                self.add(kind, MACHINE[:4] + bytes([0, n, k]) + rng.randbytes(9), rng)

    def add(self, kind: PackKind, pack: bytes, rng: random.Random) -> None:
        builder = PackBuilder(self.vault.keys, kind, MACHINE, pack_id=pack)
        for _ in range(2):
            chunk = rng.randbytes(50)
            row = builder.add(encode_frame(chunk), [len(chunk)], self.vault.keys.chunk_id(chunk))
            self.blocks.append((pack, row.offset))
        self.packs[kind, pack] = [(HEADER.size, builder.size)]
        self.memory.create(builder.name, builder.finish())

    def spans(self, kind: PackKind) -> Iterator[tuple[bytes, list[Span]]]:
        for one, pack in sorted(self.packs):
            if one is kind:
                yield pack, self.packs[kind, pack]

    def change(self, kind: PackKind, pack: bytes, at: int = 30) -> None:
        data = bytearray(self.memory.objects[pack_name(kind, pack)])
        data[at] ^= 1
        self.memory.objects[pack_name(kind, pack)] = bytes(data)

    def plan(self, percent: float = 100, store: Store | None = None) -> Plan:
        return plan_of(self.opened(store), self, MACHINE[:4], percent, 10**6 * DAY)

    def opened(self, store: Store | None) -> Vault:
        return Vault(self.store if store is None else store, self.vault.keys, self.vault.file)

    def check(
        self, percent: float = 100, *, began: int = DAY, until: float | None = None, store: Store | None = None,
        by: bytes = MACHINE, plan: Plan | None = None,
    ) -> Done:  # fmt: skip
        def tick() -> float:
            self.clock += TICK
            return self.clock

        vault = self.opened(store)
        chosen = self.plan(percent, store) if plan is None else plan
        deep = Deep(vault, self, chosen, by=by, began=began, processors=2, clock=tick)
        return deep.run(None if until is None else self.clock + until * TICK)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[bytes, int]]:
    """How often each block is opened: (pack, offset)."""
    counts: Counter[tuple[bytes, int]] = Counter()
    real = blocks.check_block

    def noting(keys, kind, pack, row, sealed):  # type: ignore[no-untyped-def]
        counts[pack, row.offset] += 1
        return real(keys, kind, pack, row, sealed)

    monkeypatch.setattr(blocks, "check_block", noting)
    return counts


def test_all_slices_are_read_and_noted(opened: Counter[tuple[bytes, int]]) -> None:
    world = World()
    plan = world.plan()
    assert plan.packs == len(world.packs)
    before = world.store.snapshot()
    done = world.check(plan=plan)
    spent = world.store.snapshot() - before
    assert (len(done.slices), done.packs, done.findings, done.is_all) == (SLICES, len(world.packs), [], True)
    assert opened == Counter(world.blocks)
    # one request for each pack, and a listing and two requests for the record
    assert spent.read.requests == len(world.packs)
    assert spent.requests == len(world.packs) + 2
    record = records.newest(world.vault, MACHINE)
    assert record is not None
    assert [(row.slice, row.read, row.by, row.faults) for row in record.slices] == [
        (n, DAY, MACHINE, 0) for n in range(SLICES)
    ]
    assert sum(row.packs for row in record.slices) == len(world.packs)
    assert sum(row.bytes for row in record.slices) == plan.bytes == done.bytes
    assert oldest(record) == DAY


def test_one_per_cent_a_day_opens_each_block_once_in_100_days(opened: Counter[tuple[bytes, int]]) -> None:
    world = World()
    for day in range(1, 101):
        done = world.check(1, began=day * DAY)
        assert len(done.slices) in (2, 3)
        assert max(opened.values()) == 1
    assert opened == Counter(world.blocks)
    world.check(1, began=101 * DAY)
    record = records.newest(world.vault, MACHINE)
    assert record is not None
    assert oldest(record) == 2 * DAY


def test_a_run_that_is_out_of_time_is_continued_where_it_stopped(opened: Counter[tuple[bytes, int]]) -> None:
    world = World(range(4))
    runs = 0
    while set(opened) != set(world.blocks):
        runs += 1
        assert max(opened.values(), default=0) <= 1
        assert not world.check(began=runs * DAY, until=6).is_all
    assert runs > 2


def test_an_unreachable_store_loses_only_what_was_not_noted(opened: Counter[tuple[bytes, int]]) -> None:
    world = World(range(8))
    name = next(iter(world.memory.list("packs/01020300/05".replace("01020300", MACHINE[:4].hex())))).name
    away = UnreachableStore(world.store, kinds={"read"}, prefix=name)
    with pytest.raises(StoreUnreachable):
        world.check(store=away)
    record = records.newest(world.vault, MACHINE)
    assert record is not None
    assert {row.slice for row in record.slices} >= {0, 1, 2, 3}
    assert world.check(began=2 * DAY).is_all
    assert max(opened.values()) <= 2
    assert set(opened) == set(world.blocks)


def test_a_rotten_block_is_found_noted_and_forgotten_when_it_is_whole_again() -> None:
    world = World(range(6))
    (kind, pack) = sorted(world.packs)[3]
    world.change(kind, pack)
    done = world.check()
    (found,) = done.findings
    assert (found.what, found.pack, found.offset) == (What.BLOCK, pack, HEADER.size)
    record = records.newest(world.vault, MACHINE)
    assert record is not None
    (row,) = record.bad
    assert (row.pack, row.kind, row.offset, row.stored, row.level) == (pack, 1, found.offset, found.stored, 2)
    assert [r.slice for r in record.slices if r.faults] == [pack[5]]
    world.change(kind, pack)
    assert world.check(began=2 * DAY).findings == []
    record = records.newest(world.vault, MACHINE)
    assert record is not None
    assert record.bad == []


def test_what_a_stopped_run_has_found_stays_when_its_slice_is_finished() -> None:
    world = World(range(1))
    first, *_others, second = sorted(world.packs)
    world.change(*first)
    assert not world.check(until=3.5).is_all  # the clock ticks at each look
    record = records.newest(world.vault, MACHINE)
    assert record is not None
    assert (len(record.parts), [row.pack for row in record.bad]) == (1, [first[1]])
    assert (record.parts[0].kind, record.parts[0].pack) < second
    world.change(*second)
    while not world.check(began=2 * DAY).is_all:
        pass
    record = records.newest(world.vault, MACHINE)
    assert record is not None
    assert sorted(row.pack for row in record.bad) == sorted([first[1], second[1]])
    assert record.slices[0].read == DAY  # as old as its beginning
    assert record.slices[0].faults == 2


def test_two_machines_at_once_do_no_harm() -> None:
    world = World(range(10))
    mine, theirs = world.plan(2), world.plan(2)  # both choose the same slices
    world.check(plan=mine)
    world.check(plan=theirs, by=OTHER, began=2 * DAY)
    record = records.newest(world.vault, MACHINE)
    assert record is not None
    assert {row.slice for row in record.slices} == set(mine.slices)
    assert {row.by for row in record.slices} == {OTHER}


def test_slices_that_somebody_claims_to_have_read_in_the_future_are_read(
    opened: Counter[tuple[bytes, int]],
) -> None:
    world = World(range(3))
    forged = [SliceRow(n, 2**63, OTHER, 0, 0, 0) for n in range(SLICES)]
    part = PartRow(1, 2**63, 2, MACHINE[:4] + bytes([0, 1]) + b"\xff" * 10, 0, 0, 0)
    records.add(world.vault, MACHINE, OTHER, 2**63, records.News(forged, [part]))
    world.check()
    assert opened == Counter(world.blocks)
    record = records.newest(world.vault, MACHINE)
    assert oldest(record) == DAY
    assert record is not None
    assert record.parts == []


def test_a_pack_stored_later_does_not_count_as_read() -> None:
    world = World(range(3))
    world.check()
    record = records.newest(world.vault, MACHINE)
    assert oldest(record) == DAY  # so a point stored after that is not wholly read
    world.add(DATA, MACHINE[:4] + bytes([0, 1]) + bytes(10), random.Random(5))
    assert world.plan(1).slices == [0, 1, 2]


def test_missing_and_acknowledged_blocks() -> None:
    world = World(range(3))
    first, second = sorted(world.packs)[:2]
    world.memory.delete(pack_name(*first))
    world.change(*second)
    deep = Deep(
        world.vault, world, world.plan(), by=MACHINE, began=DAY, lost={(1, second[1], HEADER.size)},
        is_absent=lambda target: True if (target.kind, target.pack) == first else None,
    )  # fmt: skip
    done = deep.run()
    (found,) = done.findings
    assert found.acknowledged
    assert not found.is_damage
    record = records.newest(world.vault, MACHINE)
    assert record is not None
    assert record.bad == []
    assert record.slices[0].faults == 1


def test_a_reader_that_may_not_write_checks_all_the_same() -> None:
    from tests.kit.faults import RefusingStore

    world = World(range(3))
    done = world.check(store=RefusingStore(world.store, {"create"}))
    assert done.is_all
    assert done.unnoted is not None
    assert records.newest(world.vault, MACHINE) is None


def test_blocks_that_no_contents_list_are_opened_where_trees_say_they_are() -> None:
    world = World(range(1))
    (kind, pack) = sorted(world.packs)[0]
    size = len(world.memory.objects[pack_name(kind, pack)])
    world.change(kind, pack, size - 20)  # the table of contents
    done = world.check()
    assert [f.what for f in done.findings] == [What.CONTENTS]
    (offsets) = [offset for p, offset in world.blocks if p == pack]
    end = world.packs[kind, pack][0][1]
    for flipped in (False, True):
        if flipped:
            world.change(kind, pack, offsets[1] + 3)
        unlisted = Unlisted(done.unlisted)
        assert unlisted
        unlisted.note(DATA, pack, offsets[0], offsets[1])
        unlisted.note(DATA, pack, offsets[1], end)
        unlisted.note(DATA, OTHER, offsets[1], end)
        unlisted.note(TREE, pack, offsets[1], end)
        found = unlisted.check(world.vault)
        assert [(f.what, f.offset, f.stored) for f in found] == (
            [(What.BLOCK, offsets[1], end - offsets[1])] if flipped else []
        )


def test_acknowledged_packs() -> None:
    finding = Finding(2, What.BLOCK, "x", "y", DATA, b"p" * 16, 8, 9)
    assert acknowledged([finding], {(1, b"p" * 16, None)})[0].acknowledged
    assert acknowledged([finding], {(1, b"p" * 16, 8)})[0].acknowledged
    assert not acknowledged([finding], {(1, b"p" * 16, 9), (2, b"p" * 16, 8), (1, b"q" * 16, None)})[0].acknowledged
