"""The drive without a driver: what it costs, what it shows, and what stays the same."""

from __future__ import annotations

import random
import stat
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TypeVar

import pytest

from cache.reader import Reader
from catalog.errors import NotFound
from catalog.format.records import PointName
from catalog.format.values import NodeKind, Subtree
from catalog.ledger.listed import list_points
from catalog.points.opening import open_point
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.store.wrapper import Request, StoreWrapper
from catalog.vault import open_vault
from mount.restore.conflict import copy_name
from mount.view.all_points import AllPointsView
from mount.view.listing import point_folders, shown_names
from mount.view.nodes import Attributes, Folder, Link, Node
from mount.view.numbers import Numbers
from mount.view.point import PointView
from tests.kit.drives import ITEM, MACHINE, Maker, add_machine, add_point
from tests.kit.faults import UnreachableStore
from tests.kit.vaultmaker import SmallFiles
from tests.kit.vaults import PASSPHRASE, new_vault

SECOND = 10**9
START = 1_790_000_000 * SECOND
T = TypeVar("T")


@pytest.fixture
def store() -> MeteredStore:
    return MeteredStore(MemoryStore())


def names(folder: Node) -> list[bytes]:
    assert isinstance(folder, Folder)
    return [name for page in folder.pages() for name in page.names]


def find(view: PointView | AllPointsView, *path: bytes) -> Node:
    node: Node = view.root
    for name in path:
        assert isinstance(node, Folder)
        node = node.lookup(name)
    return node


def walk(folder: Folder, path: tuple[bytes, ...] = ()) -> Iterator[tuple[tuple[bytes, ...], Node]]:
    for page in folder.pages():
        for n, name in enumerate(page.names):
            node = page.node(n)
            assert page.kind(n) == (node.attributes.inode, stat.S_IFMT(node.attributes.mode))
            yield (*path, name), node
            if isinstance(node, Folder):
                yield from walk(node, (*path, name))


# --- one point ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 500])
def test_mounting_one_point_takes_five_requests(store: MeteredStore, count: int) -> None:
    vault = new_vault(store)
    m = Maker(vault)
    root = m.root([m.file(b"file", b"x")])
    for n in range(count):
        add_point(vault, root, n + 1, START + n * SECOND)
    before = store.snapshot()
    vault = open_vault(store, passphrase=PASSPHRASE)
    view = PointView(Reader(vault), open_point(vault, list_points(vault), "latest"))
    assert names(view.root) == [b"file"]
    assert (store.snapshot() - before).requests <= 5  # those for the lists of points and ledgers are made at once


def test_all_points_take_three_requests_three_for_each_machine_and_one_for_each_item(store: MeteredStore) -> None:
    vault = new_vault(store)
    m = Maker(vault)
    root = m.root([m.file(b"file", b"x")])
    for number in range(3):
        machine = bytes([number]) * 16
        add_machine(vault, machine, f"machine {number}", number)
        for item in range(4):
            for n in range(20):
                add_point(
                    vault, root, n + 1, START + n * SECOND, machine=machine, item=bytes([item, number]) * 8,
                    item_name=f"item {item}",
                )  # fmt: skip
    before = store.snapshot()
    vault = open_vault(store, passphrase=PASSPHRASE)
    view = AllPointsView(vault, Reader(vault))
    top = names(view.root)
    assert top == [b"machine 0", b"machine 1", b"machine 2"]
    for machine_name in top:
        items = find(view, machine_name)
        assert names(items) == [b"item 0", b"item 1", b"item 2", b"item 3"]
        for item_name in names(items):
            assert len(names(find(view, machine_name, item_name))) == 22
    # vault.json, the machines that have points, and their records; points, ledgers and record of each machine;
    # the newest point of each item
    assert (store.snapshot() - before).requests == 3 + 3 * 3 + 12


class Listed(StoreWrapper):
    """Remembers the prefixes that were listed, and which records were fetched."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.prefixes: list[str] = []
        self.fetched: list[str] = []

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if request.kind == "list":
            self.prefixes.append(request.name)
        elif request.kind == "get":
            self.fetched.append(request.name)
        return call()


def test_only_points_of_machines_that_somebody_looks_at_are_listed() -> None:
    """In one listing of all points, 20 million names would be listed every 5 seconds while a folder is watched."""
    store = Listed(MemoryStore())
    vault = new_vault(store)
    for number in range(5):
        machine = bytes([number]) * 16
        add_machine(vault, machine, f"machine {number}", number)
        for n in range(20):
            add_point(vault, None, n + 1, START + n * SECOND, machine=machine, item=machine)
    view = AllPointsView(vault, Reader(vault), fresh=0)
    assert len(names(view.root)) == 5
    assert set(store.prefixes) == {"points/", "machines/"} and store.prefixes.count("machines/") == 1
    store.fetched.clear()
    store.prefixes.clear()
    for _ in range(3):
        assert len(names(find(view, b"machine 3", b"home"))) == 22
    of_three = {f"points/{'03' * 16}/", f"ledger/{'03' * 16}/"}
    assert set(store.prefixes) == {"points/", *of_three}  # the first lists folders only
    assert len(store.fetched) == 1  # the newest point, for the item's name
    store.prefixes.clear()
    narrow = AllPointsView(vault, Reader(vault), bytes([1]) * 16, bytes([1]) * 16)
    assert names(narrow.root) == [b"machine 1"] and len(names(find(narrow, b"machine 1", b"home"))) == 22
    item = f"{'01' * 16}/{'01' * 16}/"
    assert sorted(store.prefixes) == [f"ledger/{item}", f"machines/{'01' * 16}/", f"points/{item}"]


def test_listings_that_nobody_uses_are_dropped(store: MeteredStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mount.view.listings.LISTED", 50)
    vault = new_vault(store)
    for number in range(6):
        machine = bytes([number]) * 16
        add_machine(vault, machine, f"machine {number}", number)
        for n in range(20):
            add_point(vault, None, n + 1, START + n * SECOND, machine=machine, item=machine)
    view = AllPointsView(vault, Reader(vault), fresh=1000)
    inodes: dict[int, dict[bytes, Attributes]] = {}
    for number in (0, 1, 2, 3, 4, 5, 0):
        folder = find(view, b"machine %d" % number, b"home")
        listed = {name: find(view, b"machine %d" % number, b"home", name).attributes for name in names(folder)}
        assert inodes.setdefault(number, listed) == listed
        kept = [view.known(bytes([n]) * 16) for n in range(6)]
        assert sum(len(one.names) for one in kept if one is not None) <= 50
        assert kept[number] is not None


def test_inodes_are_the_same_at_every_mount_and_ascend_in_walk_order(store: MeteredStore) -> None:
    vault = new_vault(store)
    maker = Maker(vault)
    rng = random.Random(5)
    folders = [
        maker.folder(b"f%03d" % n, [maker.file(rng.randbytes(3).hex().encode()) for _ in range(rng.randrange(300))])
        for n in range(12)
    ]
    linked = [maker.file(b"linked %d" % n, b"same", link=7, nlink=2) for n in range(2)]
    point = add_point(vault, maker.root([*folders, *linked]), 1)
    first = list(walk(PointView(Reader(vault), point).root))
    inodes = [node.attributes.inode for path, node in first if b"linked" not in path[-1]]
    assert inodes == sorted(set(inodes)) and inodes[0] == 2
    assert len({node.attributes.inode for path, node in first if b"linked" in path[-1]}) == 1
    # Another mount, by lookups in another order, without a walk.
    view = PointView(Reader(vault), point)
    shuffled = list(first)
    rng.shuffle(shuffled)
    for path, node in shuffled[:300]:
        assert find(view, *path).attributes == node.attributes


@pytest.mark.slow
def test_a_lookup_among_100_000_names_costs_three_requests_and_a_mebibyte(store: MeteredStore) -> None:
    vault = new_vault(store)
    maker = Maker(vault)
    rng = random.Random(1)
    every = sorted({rng.randbytes(8).hex().encode() for _ in range(100_000)})
    point = add_point(vault, maker.root([maker.folder(b"many", [maker.file(name) for name in every])]), 1)
    view = PointView(Reader(vault), point)
    folder = find(view, b"many")
    assert isinstance(folder, Folder)
    before = store.snapshot()
    node = folder.lookup(every[54_321])
    spent = store.snapshot() - before
    assert spent.requests <= 3 and spent.received <= 1 << 20
    listed = [(name, page.kind(n)[0]) for page in folder.pages() for n, name in enumerate(page.names)]
    assert [name for name, _inode in listed] == every
    assert listed[54_321][1] == node.attributes.inode
    for missing in (b"", b"0", b"zzz", every[7] + b"x"):
        with pytest.raises(NotFound):
            folder.lookup(missing)
    for n in rng.sample(range(len(every)), 500):
        assert folder.lookup(every[n]).attributes.inode == listed[n][1]


def test_an_empty_point(store: MeteredStore) -> None:
    vault = new_vault(store)
    view = PointView(Reader(vault), add_point(vault, None, 1))
    assert names(view.root) == []
    assert view.totals().entries == 0
    with pytest.raises(NotFound):
        view.root.lookup(b"x")


def test_a_walk_reads_each_tree_block_once(store: MeteredStore) -> None:
    vault = new_vault(store)
    small = SmallFiles(vault, folders=60, each=100, largest=2 << 10)
    point = add_point(vault, small.root, 1)
    view = PointView(Reader(vault), point)
    before = store.snapshot()
    found = {path: node for path, node in walk(view.root) if len(path) == 2}
    spent = store.snapshot() - before
    assert found.keys() == small.contents.keys()
    assert spent.received <= small.trees.stored


def test_every_kind_of_node_has_its_type(store: MeteredStore) -> None:
    vault = new_vault(store)
    m = Maker(vault)
    kinds = {
        NodeKind.SYMLINK: (b"target", stat.S_ISLNK),
        NodeKind.FIFO: (None, stat.S_ISFIFO),
        NodeKind.CHAR_DEVICE: ((1, 3), stat.S_ISCHR),
        NodeKind.BLOCK_DEVICE: ((8, 1), stat.S_ISBLK),
        NodeKind.SOCKET: (None, stat.S_ISSOCK),
    }
    nodes = [m.node(kind.name.encode(), kind, content=content) for kind, (content, _is) in kinds.items()]
    view = PointView(Reader(vault), add_point(vault, m.root(nodes), 1))
    for kind, (_content, is_kind) in kinds.items():
        assert is_kind(find(view, kind.name.encode()).attributes.mode)


# --- all points -----------------------------------------------------------------------------------------------


def _root(vault_maker: Maker, text: bytes) -> Subtree:
    return vault_maker.root([vault_maker.file(b"file", text)])


def test_new_points_appear_and_latest_moves(store: MeteredStore) -> None:
    vault = new_vault(store)
    add_machine(vault)
    m = Maker(vault)
    add_point(vault, _root(m, b"one"), 1, START)
    view = AllPointsView(vault, Reader(vault), fresh=0)

    def latest() -> bytes:
        link = find(view, b"box", b"home", b"latest")
        assert isinstance(link, Link) and link.changes
        return link.target

    first = latest()
    assert first == datetime.fromtimestamp(START // SECOND).strftime("%Y-%m-%d %H.%M.%S").encode()
    assert set(names(find(view, b"box", b"home"))) == {first, b"latest", b".versions"}
    second = add_point(vault, _root(m, b"two!"), 2, START + 60 * SECOND)
    assert len(names(find(view, b"box", b"home"))) == 4
    assert latest() != first
    assert find(view, b"box", b"home", latest(), b"file").attributes.size == 4
    assert find(view, b"box", b"home", first, b"file").attributes.size == 3
    # The clock went back: the highest sequence counts, not the latest time.
    third = add_point(vault, _root(m, b"three"), 3, START - 60 * SECOND)
    assert third.time < second.time
    assert find(view, b"box", b"home", latest(), b"file").attributes.size == 5
    # Another item, another machine.
    add_machine(vault, b"m" * 16, "other", 2)
    add_point(vault, _root(m, b"x"), 1, START, machine=b"m" * 16, item=b"i" * 16, item_name="etc")
    add_point(vault, _root(m, b"x"), 1, START, item=b"j" * 16, item_name="mail")
    assert names(view.root) == [b"box", b"other"]
    assert names(find(view, b"box")) == [b"home", b"mail"]
    assert names(find(view, b"other")) == [b"etc"]


def test_the_listing_is_not_read_again_within_seconds(store: MeteredStore) -> None:
    vault = new_vault(store)
    add_machine(vault)
    m = Maker(vault)
    root = _root(m, b"x")
    for n in range(50):
        add_point(vault, root, n + 1, START + n * SECOND)
    view = AllPointsView(vault, Reader(vault), fresh=1000)
    folder = find(view, b"box", b"home")
    before = store.snapshot()
    for name in names(folder):
        assert isinstance(folder, Folder)
        folder.lookup(name)
    assert (store.snapshot() - before).requests == 0


def test_while_the_store_is_away_the_last_listing_serves() -> None:
    memory = MemoryStore()
    away = UnreachableStore(memory, reachable=True)
    vault = new_vault(away)
    add_machine(vault)
    m = Maker(vault)
    add_point(vault, _root(m, b"x"), 1, START)
    view = AllPointsView(vault, Reader(vault), fresh=0, after_failure=0)
    day = names(find(view, b"box", b"home"))[0]
    assert names(find(view, b"box", b"home", day)) == [b"file"]
    away.reachable = False
    assert find(view, b"box", b"home", day, b"file").attributes.size == 1
    away.reachable = True
    add_point(vault, _root(m, b"yy"), 2, START + SECOND)
    assert len(names(find(view, b"box", b"home"))) == 4


def test_inodes_of_points_differ(store: MeteredStore) -> None:
    vault = new_vault(store)
    add_machine(vault)
    m = Maker(vault)
    root = m.root([m.file(b"a", b"x"), m.file(b"b", b"y", link=1, nlink=2)])
    for n in range(3):
        add_point(vault, root, n + 1, START + n * SECOND)
    view = AllPointsView(vault, Reader(vault))
    inodes = [1, *(node.attributes.inode for _path, node in walk(view.root))]
    in_versions = 1 + 2 * 2  # two files, of one content each
    assert len(inodes) == len(set(inodes)) == 1 + 2 + 1 + 3 * 3 + in_versions
    assert max(inodes) < 1 << 64
    again = AllPointsView(vault, Reader(vault))
    fixed = [path for path, _node in walk(view.root) if b".versions" not in path]
    assert [find(again, *path).attributes.inode for path in fixed] == [
        find(view, *path).attributes.inode for path in fixed
    ]


def test_points_and_machines_whose_ids_begin_alike_have_numbers_of_their_own(store: MeteredStore) -> None:
    vault = new_vault(store)
    add_machine(vault)
    m = Maker(vault)
    for n in range(3):
        add_point(vault, _root(m, b"x" * n), n + 1, START + n * SECOND, point_id=b"same" + bytes([n]) * 12)
    view = AllPointsView(vault, Reader(vault))
    days = names(find(view, b"box", b"home"))[:3]
    assert [find(view, b"box", b"home", day, b"file").attributes.size for day in days] == [0, 1, 2]
    inodes = [node.attributes.inode for _path, node in walk(view.root)]
    assert len(set(inodes)) == len(inodes)


def test_a_number_that_is_taken() -> None:
    numbers = Numbers[str](2, 9)
    assert [numbers.of(key, 9) for key in ("a", "b", "c")] == [9, 2, 3]
    assert numbers.of("d", 1000) == 8 and numbers.of("e", 2) == 4
    assert [numbers.of(key, 5) for key in ("a", "b", "c", "d", "e")] == [9, 2, 3, 8, 4]


def test_what_is_on_a_drive_has_an_origin(store: MeteredStore) -> None:
    vault = new_vault(store)
    add_machine(vault)
    m = Maker(vault)
    points = [add_point(vault, _root(m, b"x" * n), n, START + n * SECOND) for n in (1, 2)]
    one = PointView(Reader(vault), points[0])
    assert [one.origin(path) for path in (b"", b"file")] == [(points[0], b""), (points[0], b"file")]
    view = AllPointsView(vault, Reader(vault))
    days = names(find(view, b"box", b"home"))[:2]
    for day, point in zip(days, points, strict=True):
        assert view.origin(b"box/home/" + day) == (point, b"")
        before = store.snapshot()
        assert view.origin(b"box/home/" + day + b"/a/b") == (point, b"a/b")
        assert (store.snapshot() - before).requests == 0
    assert view.origin(b"box/home/latest/file") == (points[1], b"file")
    for several in (b"", b"box", b"box/home", b"box/home/.versions"):
        assert view.origin(several) is None
    for missing in (b"none/home/latest", b"box/none/latest", b"box/home/2001-01-01 00.00.00/file"):
        with pytest.raises(NotFound, match="the drive has no folder"):
            view.origin(missing)


def test_times_of_equal_seconds_get_a_number() -> None:
    points = [PointName(MACHINE, ITEM, START, n, bytes([n]) * 16, False) for n in (1, 2, 3)]
    folders = point_folders(points)
    day = datetime.fromtimestamp(START // SECOND).strftime("%Y-%m-%d %H.%M.%S")
    assert list(folders) == [day.encode(), f"{day} (2)".encode(), f"{day} (3)".encode()]
    assert [p.sequence for p in folders.values()] == [1, 2, 3]
    assert point_folders(points[::-1]) == folders


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Los_Angeles"])
def test_a_point_of_a_time_that_no_clock_shows_costs_no_other(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """Whoever may write to a vault can name a point so. It is year 10000 east of UTC, or year 0 west of it."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        ends = [253_402_300_799 * SECOND, -62_135_596_800 * SECOND]
        times = [START, *ends]
        points = [PointName(MACHINE, ITEM, at, n, bytes([n]) * 16, partial=False) for n, at in enumerate(times)]
        folders = point_folders(points)
        assert len(folders) == 3 and set(folders.values()) == set(points)
        assert any(name.startswith(b"@") for name in folders)
        assert all(copy_name(b"a.txt", at).endswith(b").txt") for at in times)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_names_that_a_folder_cannot_have() -> None:
    a, b, c, d, e = (bytes([n]) * 16 for n in range(5))
    shown = shown_names({a: "box", b: "box", c: "a/b\0c", d: "..", e: ""})
    assert shown == {a: b"box", b: b"box (01010101)", c: b"a_b_c", d: d.hex().encode(), e: e.hex().encode()}


def test_an_empty_vault_is_an_empty_drive(store: MeteredStore) -> None:
    vault = new_vault(store)
    view = AllPointsView(vault, Reader(vault))
    assert names(view.root) == []
    assert view.totals().entries == 0
