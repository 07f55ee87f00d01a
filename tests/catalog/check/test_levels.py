"""Levels 0 and 1: each fault is found by the levels that are meant to find it, and told by point and path."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import pytest

from catalog.check.finding import What
from catalog.check.group import Request
from catalog.check.job import check
from catalog.check.report import Report
from catalog.format.admins import open_admin
from catalog.format.blocks import PackKind
from catalog.format.ledger import ForgottenRow, ledger_folder
from catalog.format.nodes import Node
from catalog.format.packs import Extent, pack_name
from catalog.format.places import BrokenRow, places_folder
from catalog.format.records import Item, Machine, Point, PointName, Root
from catalog.format.values import Subtree, Totals
from catalog.ledger.records import Ledgers
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.store.wrapper import Request as StoreRequest
from catalog.store.wrapper import StoreWrapper, T
from catalog.vault import Vault, open_vault
from tests.kit.drives import ITEM, add_machine
from tests.kit.mover import Mover
from tests.kit.vaultmaker import MACHINE, Packer, Trees, file_node, folder_node
from tests.kit.vaults import PASSPHRASE, new_vault

START, HOUR = 1_790_000_000 * 10**9, 3600 * 10**9
STRANGER = b"\x77" * 16


class World:
    """Points 1 and 2 of a vault with one machine: `docs/deep/plan`, `docs/note` (not in point 2), `films/long`.

    The content of each file is in packs of its own, and so are the pages of each folder. `long` has 40 pieces.
    """

    def __init__(self, state: Path) -> None:
        self.memory = MemoryStore(clock=lambda: self.now)
        self.now = START
        self.meter = MeteredStore(self.memory)
        self.vault: Vault = new_vault(self.meter)
        self.state = state
        add_machine(self.vault)
        self.vault.add_item(Item(id=ITEM, machine=MACHINE, name="home", paths=[b"/home"], created=1))
        self.rng = random.Random(1)
        self.data, self.trees = Packer(self.vault, PackKind.DATA), Trees(self.vault)
        self.contents = [self.rng.randbytes(500) for _ in range(2)]
        self.note, self.plan = map(self.block, self.contents)
        self.data.finish()
        self.film = [self.data.block([self.rng.randbytes(500)])[0] for _ in range(40)]
        self.data.finish()
        long = file_node(b"long", self.trees.pieces(self.film), 40 * 500, self.rng)
        self.films = self.tree([long])
        self.deep = self.tree([self.file(b"plan", self.plan)])
        self.docs = self.tree([folder(b"deep", self.deep), self.file(b"note", self.note)])
        self.points = [self.point(1, self.docs), self.point(2, self.tree([folder(b"deep", self.deep)]))]

    def block(self, content: bytes) -> Extent:
        at = self.data.block([content])[0]
        self.data.finish()
        return at

    def file(self, name: bytes, at: Extent, size: int | None = None) -> Node:
        return file_node(name, [at], at.length if size is None else size, self.rng)

    def tree(self, nodes: list[Node]) -> Subtree:
        return self.trees.root(self.trees.folder(nodes))

    def point(self, sequence: int, docs: Subtree, **more: object) -> PointName:
        return self.committed(sequence, self.tree([folder(b"docs", docs), folder(b"films", self.films)]), **more)

    def committed(self, sequence: int, root: Subtree, **more: object) -> PointName:
        self.now += HOUR
        fields: dict[str, object] = {"checked": self.now, **more}
        point = Point(
            id=self.rng.randbytes(16), machine=MACHINE, item=ITEM, machine_name="box", item_name="home",
            hostname="box", system="Linux", sequence=sequence, time=self.now, finished=self.now, paths=[b"/home"],
            root=Root.of(root),
        )  # fmt: skip
        point = msgspec.structs.replace(point, **fields)
        self.vault.add_point(point)
        return PointName.of(point)

    def points_root(self, n: int) -> Extent:
        root = self.vault.point(self.points[n]).root
        assert root is not None
        return root.subtree().at

    def check(self, level: int, **more: Any) -> Report:
        vault = open_vault(self.meter, passphrase=PASSPHRASE)
        return check(vault, Request(level, **more), self.state)

    # --- faults -------------------------------------------------------------------------------------------

    def name(self, at: Extent, kind: PackKind = PackKind.DATA) -> str:
        return pack_name(kind, at.pack)

    def spoil(self, name: str, at: int) -> None:
        data = bytearray(self.memory.objects[name])
        data[at] ^= 1
        self.memory.objects[name] = bytes(data)

    def cut(self, name: str, length: int) -> None:
        self.memory.objects[name] = self.memory.objects[name][:length]

    def garble(self, name: str) -> None:
        self.memory.create(name, [b"garbage"])

    def lose(self, name: str) -> None:
        del self.memory.objects[name]

    def replaced(self, docs: Subtree) -> None:
        """A third point, whose `docs` is forged."""
        self.points.append(self.point(3, docs))


def folder(name: bytes, tree: Subtree | None) -> Node:
    return folder_node(name, tree, random.Random(0))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("catalog.places.PATIENCE", 0.0)
    return World(tmp_path)


class Told(NamedTuple):
    """A finding: what, in which points (by number), and where."""

    what: What
    points: tuple[int, ...]
    path: bytes


def told(world: World, report: Report) -> list[Told]:
    numbers = {name: n + 1 for n, name in enumerate(world.points)}
    return [Told(f.what, tuple(numbers[p] for p in f.points), f.path) for f in report.findings]


def harmed(world: World, report: Report) -> dict[int, tuple[int, tuple[bytes, ...]]]:
    numbers = {name: n + 1 for n, name in enumerate(world.points)}
    return {numbers[name]: (harm.files, harm.paths) for name, harm in report.harmed.items()}


class Case(NamedTuple):
    """A fault, and what levels 0 and 1 tell of it; level 0 after level 1 was run while all was well."""

    fault: Callable[[World], None]
    level0: list[Told]
    level1: list[Told]
    harmed: Mapping[int, tuple[int, tuple[bytes, ...]]] = MappingProxyType({})


def move_and_lose_carrier(world: World) -> None:
    mover = Mover(world.vault, world.memory)
    mover.merge(PackKind.DATA, [world.plan.pack, world.note.pack])
    mover.publish()
    mover.delete(PackKind.DATA, [world.plan.pack, world.note.pack, *mover.carriers])


def cut_too_much(world: World) -> None:
    mover = Mover(world.vault, world.memory)
    mover.cut(PackKind.DATA, world.film[0].pack, lambda row: row.offset != world.film[5].offset)
    mover.publish()


def forget_too_much(world: World) -> None:
    world.lose(str(world.points[0]))


def forge_totals(world: World) -> None:
    world.replaced(world.docs._replace(totals=Totals(99, 2, 1000, 0)))


def forge_size(world: World) -> None:
    world.replaced(world.tree([world.file(b"note", world.note, size=501)]))


def forge_stranger(world: World) -> None:
    far = world.note._replace(pack=STRANGER[:4] + world.note.pack[4:])
    world.replaced(world.tree([world.file(b"note", far)]))


def forge_place(world: World) -> None:
    world.replaced(world.tree([world.file(b"note", world.note._replace(offset=1 << 30))]))


FILM, NOTE, PLAN = b"films/long", b"docs/note", b"docs/deep/plan"
MISSING, SHORT, PAGE, TREE = What.MISSING, What.SHORT, What.PAGE, What.TREE
CASES = {
    "nothing": Case(lambda w: None, [], []),
    "data pack lost": Case(
        lambda w: w.lose(w.name(w.plan)),
        [Told(MISSING, (1, 2), PLAN)], [Told(MISSING, (1, 2), PLAN)], {1: (1, (PLAN,)), 2: (1, (PLAN,))},
    ),
    "data pack of one point lost": Case(
        lambda w: w.lose(w.name(w.note)),
        [Told(MISSING, (1,), NOTE)], [Told(MISSING, (1,), NOTE)], {1: (1, (NOTE,))},
    ),
    "data pack of a paged file cut": Case(
        lambda w: w.cut(w.name(w.film[0]), w.film[20].offset),
        [Told(SHORT, (1, 2), FILM)], [Told(SHORT, (1, 2), FILM)], {1: (1, (FILM,)), 2: (1, (FILM,))},
    ),
    "data block changed": Case(lambda w: w.spoil(w.name(w.plan), w.plan.offset + 5), [], []),
    "tree pack lost": Case(
        lambda w: w.lose(w.name(w.deep.at, PackKind.TREE)),
        [Told(MISSING, (1, 2), b"docs/deep")], [Told(MISSING, (1, 2), b"docs/deep")],
        {1: (1, (b"docs/deep/",)), 2: (1, (b"docs/deep/",))},
    ),
    "tree pack cut": Case(
        lambda w: w.cut(w.name(w.docs.at, PackKind.TREE), w.docs.at.offset + 10),
        [Told(SHORT, (1,), b"docs")], [Told(SHORT, (1,), b"docs")], {1: (2, (b"docs/",))},
    ),
    "tree block changed": Case(
        lambda w: w.spoil(w.name(w.deep.at, PackKind.TREE), w.deep.at.offset + 5),
        [], [Told(PAGE, (1, 2), b"docs/deep")], {1: (1, (b"docs/deep/",)), 2: (1, (b"docs/deep/",))},
    ),
    "page of pieces changed": Case(
        lambda w: w.spoil(w.name(w.films.at, PackKind.TREE), w.films.at.offset + 5),
        [], [Told(PAGE, (1, 2), b"films")], {1: (1, (b"films/",)), 2: (1, (b"films/",))},
    ),
    "root of a tree changed": Case(
        lambda w: w.spoil(w.name(w.points_root(0), PackKind.TREE), w.points_root(0).offset + 5),
        [], [Told(PAGE, (1,), b"")], {1: (3, (b"/",))},
    ),
    "record of a point changed": Case(
        lambda w: w.spoil(str(w.points[0]), 60), [Told(What.POINT, (1,), b"")], [Told(What.POINT, (1,), b"")]
    ),
    "point vanished": Case(forget_too_much, [Told(What.GAP, (), b"")], [Told(What.GAP, (), b"")]),
    "carrier lost": Case(
        move_and_lose_carrier,
        [Told(MISSING, (1, 2), NOTE)], [Told(MISSING, (1, 2), NOTE)], {1: (2, (NOTE, PLAN)), 2: (1, (PLAN,))},
    ),
    "live block cut from a pack": Case(
        cut_too_much, [Told(MISSING, (1, 2), FILM)], [Told(MISSING, (1, 2), FILM)],
        {1: (1, (FILM,)), 2: (1, (FILM,))},
    ),
    "ledger that does not open": Case(
        lambda w: w.garble(ledger_folder(MACHINE, ITEM) + "00000001"), [Told(What.OTHER, (), b"")],
        [Told(What.OTHER, (), b"")],
    ),
    "record of places that does not open": Case(
        lambda w: w.garble(places_folder(MACHINE[:4]) + "00000009"), [Told(What.OTHER, (), b"")],
        [Told(What.OTHER, (), b"")],
    ),
    "totals forged": Case(forge_totals, [], [Told(TREE, (3,), b"docs")]),
    "size forged": Case(forge_size, [], [Told(TREE, (3,), NOTE)], {3: (1, (NOTE,))}),
    "place outside of its pack": Case(forge_place, [], [Told(SHORT, (3,), NOTE)], {3: (1, (NOTE,))}),
    "pack of a machine that is not shared": Case(
        forge_stranger, [], [Told(TREE, (3,), b"docs"), Told(MISSING, (3,), NOTE)], {3: (1, (NOTE,))}
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_level_finds_what_it_is_meant_to(world: World, case: Case) -> None:
    assert not world.check(1).findings
    case.fault(world)
    shallow = world.check(0)
    assert sorted(told(world, shallow)) == sorted(case.level0)
    assert harmed(world, shallow) == (case.harmed if case.level0 else {})
    deep = world.check(1)
    assert sorted(told(world, deep)) == sorted(case.level1)
    assert harmed(world, deep) == case.harmed
    assert deep.is_damaged == bool(case.level1)


def test_what_is_known_to_be_lost_or_has_a_copy_is_no_damage(world: World) -> None:
    world.check(1)
    mover = Mover(world.vault, world.memory)
    mover.broken.append(BrokenRow(world.plan.pack, int(PackKind.DATA), None, 1, "the disk"))
    mover.publish()
    world.lose(world.name(world.plan))
    for level in (0, 1):
        report = world.check(level)
        assert [(f.what, f.acknowledged, f.is_damage) for f in report.findings] == [(MISSING, True, False)]
        assert harmed(world, report) == {1: (1, (PLAN,)), 2: (1, (PLAN,))}
    copy = world.data.block([b"another chunk", world.contents[1]])[1]
    world.data.finish()
    mover.replace(world.plan, copy)
    mover.publish()
    for level in (0, 1):
        report = world.check(level)
        assert [(f.what, f.healed, f.is_damage) for f in report.findings] == [(MISSING, True, False)]
        assert not report.harmed
    world.lose(world.name(copy))  # the copy is live, too
    assert {f.object for f in world.check(1).findings if f.is_damage} == {world.name(copy)}


@pytest.mark.parametrize("is_gone", [False, True], ids=["cut", "gone"])
def test_each_block_that_a_carrier_has_lost_can_be_known(world: World, is_gone: bool) -> None:
    """A repair names them one by one, if some of the pack is left, or may be."""
    mover = Mover(world.vault, world.memory)
    mover.merge(PackKind.DATA, [world.film[0].pack])
    mover.publish()
    mover.delete(PackKind.DATA, [world.film[0].pack])
    carrier = pack_name(PackKind.DATA, mover.carriers[0])
    left = [] if is_gone else world.film[:20]
    world.check(1)
    if is_gone:
        world.lose(carrier)
    else:
        world.cut(carrier, world.film[20].offset)
    first, *rest = [at for at in world.film if at not in left]
    for some in ([first], rest):
        for level in (0, 1):
            assert world.check(level).is_damaged
        mover.broken += [BrokenRow(at.pack, int(PackKind.DATA), at.offset, 1, "the disk") for at in some]
        mover.publish()
    for level in (0, 1):
        report = world.check(level)
        assert [(f.acknowledged, f.is_damage) for f in report.findings] == [(True, False)]
        assert harmed(world, report) == {1: (1, (FILM,)), 2: (1, (FILM,))}


def test_a_point_that_rests_on_old_evidence_is_no_damage_yet(world: World) -> None:
    world.points.append(world.point(3, world.docs, checked=world.now - 43 * HOUR))
    for level in (0, 1):
        report = world.check(level)
        assert told(world, report) == [Told(What.UNSOUND, (3,), b"")] and not report.is_damaged


def test_a_point_that_was_forgotten_is_not_missing(world: World) -> None:
    world.check(1)
    first = world.points[0]
    row = ForgottenRow(first.id, 1, world.now, world.now, 1, "", "me")
    (admin,) = world.vault.file.admins
    signer = admin, open_admin(world.vault.keys, admin)
    ledgers = Ledgers(world.vault, MACHINE)
    ledgers.change(MACHINE, ITEM, lambda one: one.forget([row]), signer, world.now)
    assert not world.check(0).findings and not world.check(1).findings
    world.lose(str(first))
    for level in (0, 1):
        assert not world.check(level).findings


class _Upkeep(StoreWrapper):
    """Runs upkeep right before a request."""

    def __init__(self, inner: Store, prefix: str, kind: str, upkeep: Callable[[], None]) -> None:
        super().__init__(inner)
        self._before, self._upkeep = (kind, prefix), upkeep

    def _pass_on(self, request: StoreRequest, call: Callable[[], T]) -> T:
        kind, prefix = self._before
        if request.kind == kind and request.name.startswith(prefix):
            self._before = "", ""
            self._upkeep()
        return call()


@pytest.mark.parametrize(
    ("kind", "prefix"), [("list", f"points/{MACHINE.hex()}/"), ("list", "ledger/"), ("get", "points/")]
)
def test_a_point_that_goes_meanwhile_is_not_missing(world: World, kind: str, prefix: str) -> None:
    first = world.points[0]

    def upkeep() -> None:
        (admin,) = world.vault.file.admins
        signer = admin, open_admin(world.vault.keys, admin)
        row = ForgottenRow(first.id, 1, world.now, world.now, 1, "", "me")
        ledgers = Ledgers(world.vault, MACHINE)
        ledgers.change(MACHINE, ITEM, lambda one: one.forget([row]).take([first.id], world.now), signer, world.now)
        world.lose(str(first))

    store = _Upkeep(world.meter, prefix, kind, upkeep)
    report = check(open_vault(store, passphrase=PASSPHRASE), Request(1), world.state)
    assert not report.findings
    assert str(first) not in world.memory.objects


def test_a_machine_may_share_packs_of_others(world: World) -> None:
    other = Machine(id=STRANGER, name="new", hostname="new", system="Linux", created=1, shares=[MACHINE])
    root = world.tree([folder(b"docs", world.docs)])
    world.vault.add_item(Item(id=ITEM, machine=STRANGER, name="home", paths=[b"/home"], created=1))
    for machine, found in ((msgspec.structs.replace(other, shares=[]), {What.TREE}), (other, set())):
        world.vault.add_machine(machine, 1 if not machine.shares else 2)
        if not machine.shares:
            world.committed(1, root, machine=STRANGER)
        assert {f.what for f in world.check(1, machine=STRANGER).findings} == found
    world.lose(world.name(world.note))
    assert [f.what for f in world.check(0, machine=STRANGER).findings] == [MISSING]


def test_level_0_lists_and_reads_no_pack(world: World) -> None:
    world.check(1)
    before = world.meter.snapshot()
    assert not world.check(0).notes
    spent = world.meter.snapshot() - before
    # vault.json; machines, ledger, points, packs, meta, places; the records of the machine and of two points.
    # And the folders of the vault, and each of ten folders of records.
    assert (spent.list.requests, spent.requests) == (6 + 1 + 11, 7 + 11 + 4), spent
    world.points.append(world.point(3, world.docs))
    assert world.check(0).notes == ["1 recovery point is newer than the last check of level 1 on this machine"]


def test_level_0_says_when_it_can_not_know_what_is_referred_to(world: World) -> None:
    world.lose(world.name(world.plan))
    report = world.check(0)
    assert not report.findings and len(report.notes) == 1


def test_one_item_is_checked_alone(world: World) -> None:
    world.lose(world.name(world.plan))
    assert world.check(1, machine=MACHINE, item=ITEM).is_damaged
    other = b"o" * 16
    assert not world.check(1, machine=MACHINE, item=other).findings
