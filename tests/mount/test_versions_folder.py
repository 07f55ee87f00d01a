"""`.versions` in the drive of all points: a file as a folder of its contents, by date."""

from __future__ import annotations

import os
import random
import stat
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cache.reader import Reader
from catalog.errors import Damaged, NotFound
from catalog.format.records import Point
from catalog.format.values import NodeKind, Owner
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault
from mount.view.all_points import AllPointsView
from mount.view.nodes import Attributes, File, Folder, Link, Node
from mount.view.point import PointView
from mount.view.versions import extension_of
from tests.catalog.test_history import build
from tests.kit.drives import Home, Maker, add_machine, add_point, eventually
from tests.kit.vaultmaker import SmallFiles
from tests.kit.vaults import make_vault, new_vault

SECOND = 10**9
START = 1_790_000_000 * SECOND
DAY = 86400 * SECOND


def date(n: int) -> bytes:
    """How the n-th point's folder is called."""
    return datetime.fromtimestamp((START + n * DAY) // SECOND).strftime("%Y-%m-%d %H.%M.%S").encode()


@pytest.fixture
def store() -> MeteredStore:
    return MeteredStore(MemoryStore())


@pytest.fixture
def vault(store: MeteredStore) -> Vault:
    vault = new_vault(store)
    add_machine(vault)
    return vault


def open_view(vault: Vault, **options: Any) -> AllPointsView:
    return AllPointsView(vault, Reader(vault), **options)


def find(view: AllPointsView, *path: bytes) -> Node:
    node: Node = view.root
    for name in (b"box", b"home", b".versions", *path):
        assert isinstance(node, Folder)
        node = node.lookup(name)
    return node


def listing(folder: Node) -> dict[bytes, Node]:
    assert isinstance(folder, Folder)
    nodes = {}
    for page in folder.pages():
        for n, name in enumerate(page.names):
            nodes[name] = node = page.node(n)
            assert page.kind(n) == (node.attributes.inode, stat.S_IFMT(node.attributes.mode))
            assert folder.lookup(name).attributes == node.attributes
    return nodes


def walk(folder: Node, path: bytes = b"") -> Iterator[tuple[bytes, Node]]:
    for name, node in listing(folder).items():
        yield path + b"/" + name, node
        if isinstance(node, Folder):
            yield from walk(node, path + b"/" + name)


def fixed(node: Node) -> Attributes:
    """The attributes that are the same at every mount."""
    return node.attributes._replace(inode=0)


def content(node: Node) -> bytes:
    assert isinstance(node, File)
    return bytes(node.open().read(0, node.attributes.size))


def test_a_file_is_a_folder_of_its_contents(vault: Vault) -> None:
    m = Maker(vault)
    texts = [b"one", b"two", b"two", b"one", b"three"]
    for n, text in enumerate(texts):
        fields = {"mtime": START + n, "owner": Owner(n, n), "mode": 0o600 + n}
        add_point(vault, m.root([m.file(b"a.txt", text, **fields)]), n + 1, START + n * DAY)
    view = open_view(vault)
    folder = find(view, b"a.txt")
    assert folder.changes and stat.S_ISDIR(folder.attributes.mode)
    nodes = listing(folder)
    assert list(nodes) == [date(n) + b".txt" for n in (0, 1, 4)]
    assert [content(node) for node in nodes.values()] == [b"one", b"two", b"three"]
    for n, node in zip((0, 1, 4), nodes.values(), strict=True):
        a = node.attributes
        assert not node.changes
        assert (a.mtime, a.uid, a.gid, a.mode, a.size) == (START + n, n, n, stat.S_IFREG | 0o600 + n, len(texts[n]))
    with pytest.raises(NotFound):
        find(view, b"a.txt", date(2) + b".txt")
    with pytest.raises(NotFound):
        find(view, b"b.txt")


def test_a_version_comes_from_the_first_point_that_has_it(vault: Vault) -> None:
    m = Maker(vault)
    points = [
        add_point(vault, m.root([m.folder(b"f", [m.file(b"a.txt", text)])]), n, START + n * DAY)
        for n, text in enumerate((b"one", b"two", b"two"), 1)
    ]
    view, top = open_view(vault), b"box/home/.versions/"
    for n in (1, 2):
        assert view.origin(top + b"f/a.txt/" + date(n) + b".txt") == (points[n - 1], b"f/a.txt")
    assert [view.origin(top + path) for path in (b"", b"f", b"f/a.txt")] == [None] * 3
    for path in (b"f/a.txt/" + date(3) + b".txt", b"f/b", b"g/h", b"f/a.txt/" + date(1) + b".txt/x"):
        with pytest.raises(NotFound):
            view.origin(top + path)


def test_all_names_that_any_point_has(vault: Vault) -> None:
    m = Maker(vault)
    add_point(vault, m.root([m.folder(b"f", [m.file(b"x", b"1")]), m.file(b"thing", b"a file")]), 1, START)
    add_point(vault, m.root([m.folder(b"f", []), m.folder(b"thing", [m.file(b"in it", b"2")])]), 2, START + DAY)
    link = m.node(b"thing", NodeKind.SYMLINK, content=b"f", mode=0o777)
    add_point(vault, m.root([m.folder(b"f", [m.file(b"y", b"3")]), link]), 3, START + 2 * DAY)
    add_point(vault, None, 4, START + 3 * DAY)
    nodes = dict(walk(find(open_view(vault))))
    files = {path: content(node) for path, node in nodes.items() if isinstance(node, File)}
    assert files == {
        b"/f/x/" + date(0): b"1",
        b"/f/y/" + date(2): b"3",
        b"/thing/" + date(0): b"a file",
        b"/thing/in it/" + date(1): b"2",
    }
    links = {path: node.target for path, node in nodes.items() if isinstance(node, Link)}
    assert links == {b"/thing/" + date(2): b"f"}
    inodes = [node.attributes.inode for node in nodes.values()]
    assert len(set(inodes)) == len(inodes) and all(1 < i < 1 << 64 for i in inodes)
    again = dict(walk(find(open_view(vault))))
    assert {p: fixed(n) for p, n in again.items()} == {p: fixed(n) for p, n in nodes.items()}


def test_a_name_like_a_date_hides_no_folder(vault: Vault) -> None:
    m = Maker(vault)
    add_point(vault, m.root([m.file(b"thing", b"1")]), 1, START)
    add_point(vault, m.root([m.folder(b"thing", [m.file(date(0), b"2")])]), 2, START + DAY)
    nodes = dict(walk(find(open_view(vault))))
    inside = b"/thing/" + date(0) + b"/" + date(1) + b".20"  # the part after the last dot of its name
    assert list(nodes) == [b"/thing", b"/thing/" + date(0), inside]


def test_nobody_gets_in_whom_a_point_kept_out(vault: Vault) -> None:
    m = Maker(vault)
    for n, (mode, owner) in enumerate(((0o750, Owner(7, 8)), (0o755, Owner(7, 8)))):
        add_point(
            vault, m.root([m.folder(b"f", [m.file(b"x", b"1")], mode=mode, owner=owner)]), n + 1, START + n * DAY
        )
    a = find(open_view(vault), b"f").attributes
    assert (a.mode & 0o777, a.uid, a.gid) == (0o750, 7, 8)
    add_point(vault, m.root([m.folder(b"f", [], mode=0o777, owner=Owner(9, 9))]), 3, START + 2 * DAY)
    a = find(open_view(vault), b"f").attributes
    assert (a.mode & 0o777, a.uid) == (0o700, os.getuid())


def test_new_points_bring_new_versions(vault: Vault) -> None:
    m = Maker(vault)
    add_point(vault, m.root([m.file(b"a.txt", b"one")]), 1, START)
    view = open_view(vault, fresh=0)
    before = find(view, b"a.txt", date(0) + b".txt").attributes
    assert list(listing(find(view, b"a.txt"))) == [date(0) + b".txt"]
    add_point(vault, m.root([m.file(b"a.txt", b"two"), m.file(b"b", b"b")]), 2, START + DAY)
    assert list(listing(find(view, b"a.txt"))) == [date(0) + b".txt", date(1) + b".txt"]
    assert list(listing(find(view))) == [b"a.txt", b"b"]
    assert find(view, b"a.txt", date(0) + b".txt").attributes == before


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_a_naive_comparison(vault: Vault, seed: int) -> None:
    model = build(vault, seed)
    nodes = dict(walk(find(open_view(vault))))
    expected: dict[bytes, tuple[int, int] | None] = {}
    for path in model.every_path():
        expected[path] = None
        seen = set()
        for n in model.holders(path):
            f = model.states[n][path]
            if f.kind is NodeKind.FOLDER or model.identity(f) in seen:
                continue
            seen.add(model.identity(f))
            when = datetime.fromtimestamp((START + n * 3600 * SECOND) // SECOND).strftime("%Y-%m-%d %H.%M.%S")
            name = when.encode() + extension_of(path.rpartition(b"/")[2])
            expected[path + b"/" + name] = f.mode, f.mtime
    found = {
        path: None if isinstance(node, Folder) else (node.attributes.mode & 0o7777, node.attributes.mtime)
        for path, node in nodes.items()
    }
    assert found == expected
    inodes = [node.attributes.inode for node in nodes.values()]
    assert len(set(inodes)) == len(inodes)


# --- what it costs ------------------------------------------------------------------------------------------


def test_nothing_is_read_before_somebody_looks(store: MeteredStore, vault: Vault) -> None:
    m = Maker(vault)
    for n in range(30):
        add_point(vault, m.root([m.file(b"a.txt", b"%d" % n)]), n + 1, START + n * DAY)
    view = open_view(vault)
    item = view.root.lookup(b"box")
    assert isinstance(item, Folder)
    item = item.lookup(b"home")
    before = store.snapshot()
    nodes = listing(item)
    assert set(nodes) == {date(n) for n in range(30)} | {b"latest", b".versions"}
    assert (store.snapshot() - before).requests == 0
    before = store.snapshot()
    assert len(listing(find(view, b"a.txt"))) == 30
    spent = store.snapshot() - before
    assert spent.get.requests == 29  # the newest point's record was read for the item's name
    assert spent.requests - spent.get.requests <= 30  # a root each


def test_shared_subtrees_are_read_once(store: MeteredStore, vault: Vault) -> None:
    small = SmallFiles(vault, folders=20, each=50, largest=2 << 10)
    points: list[Point] = []
    for n in range(60):
        if n:
            small.edit(1)
        points.append(add_point(vault, small.root, n + 1, START + n * DAY))
    view = open_view(vault)
    before = store.snapshot()
    nodes = dict(walk(find(view)))
    spent = store.snapshot() - before
    assert len(nodes) == 20 + 20 * 50 + 20 * 50 + 59
    packs = list(store.inner.list("meta/"))
    assert spent.get.requests == 60
    assert spent.received <= sum(i.size for i in packs) + sum(i.size for i in store.inner.list("points/"))
    newest = PointView(Reader(vault), points[-1]).root
    some = random.Random(1).sample(sorted(small.contents), 20)
    for folder, name in some:
        versions = listing(find(view, folder, name))
        assert list(versions) == sorted(versions)
        top = newest.lookup(folder)
        assert isinstance(top, Folder)
        assert content(top.lookup(name)) in [content(node) for node in versions.values()]
        assert small.contents[folder, name] in [content(node) for node in versions.values()]


def test_many_names_and_many_points(store: MeteredStore, vault: Vault) -> None:
    m = Maker(vault)
    rng = random.Random(1)
    names = sorted({rng.randbytes(6).hex().encode() + b".dat" for _ in range(5000)})
    rows = {name: m.file(name) for name in names}
    for n in range(40):
        name = rng.choice(names)
        rows[name] = m.node(name, NodeKind.SYMLINK, content=b"%d" % n)
        rows[b"new %03d" % n] = m.file(b"new %03d" % n)
        many = m.folder(b"many", list(rows.values()))
        add_point(vault, m.root([many]), n + 1, START + n * DAY)
    view = open_view(vault)
    folder = find(view, b"many")
    before = store.snapshot()
    assert isinstance(folder, Folder)
    listed = [name for page in folder.pages() for name in page.names]
    assert listed == sorted(rows)
    spent = store.snapshot() - before
    assert spent.received <= sum(i.size for i in store.inner.list("meta/"))
    link = next(name for name, node in rows.items() if node.kind == NodeKind.SYMLINK)
    versions = listing(find(view, b"many", link))
    assert len(versions) >= 2 and all(name.endswith(b".dat") for name in versions)
    with pytest.raises(NotFound):
        folder.lookup(b"nothing")


def test_damage_is_an_error_and_not_an_empty_folder(store: MeteredStore, vault: Vault) -> None:
    m = Maker(vault)
    for n in range(3):
        add_point(vault, m.root([m.file(b"a.txt", b"%d" % n)]), n + 1, START + n * DAY)
    meta = [i.name for i in store.inner.list("meta/")]
    store.inner.delete(meta[0])
    folder = find(open_view(vault))
    assert isinstance(folder, Folder)
    for _ in range(2):
        with pytest.raises(Damaged):
            list(folder.pages())
        with pytest.raises(Damaged):
            folder.lookup(b"a.txt")


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        (b"a.txt", b".txt"), (b"a.tar.gz", b".tar.gz"), (b"a.b.gz", b".gz"), (b".bashrc", b""), (b"a", b""),
        (b"Dr. No", b""), (b"a.", b"."), (b"\xff.\xfe", b".\xfe"), (b"a." + b"x" * 40, b""),
    ],
)  # fmt: skip
def test_extensions(name: bytes, extension: bytes) -> None:
    assert extension_of(name) == extension


# --- through the kernel -------------------------------------------------------------------------------------


@pytest.mark.needs_fuse
def test_a_history_is_copied_out(tmp_path: Path) -> None:
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    m = Maker(vault)
    rng = random.Random(4)
    contents: dict[str, list[tuple[int, bytes]]] = {}
    now: dict[str, bytes] = {}
    for n in range(12):
        for _ in range(4):
            name = f"file {rng.randrange(8)}.bin"
            now[name] = rng.randbytes(rng.choice((10, 5000, 300_000)))
            contents.setdefault(name, []).append((n, now[name]))
        for name, versions in contents.items():  # an earlier content of the same day was in no point
            contents[name] = [*{day: (day, data) for day, data in versions}.values()]
        folder = m.folder(b"docs", [m.file(k.encode(), v, mtime=START + n) for k, v in now.items()])
        add_point(vault, m.root([folder]), n + 1, START + n * DAY)
    home = Home(tmp_path, tmp_path / "vault")
    try:
        drive = home.mount()
        item = drive / "box" / "home"
        assert ".versions" in os.listdir(item)
        hidden = subprocess.run(["ls", item], capture_output=True, text=True, check=True).stdout
        assert ".versions" not in hidden
        copy = tmp_path / "copy"
        subprocess.run(["cp", "-r", "--preserve=timestamps", item / ".versions" / "docs", copy], check=True)
        assert sorted(os.listdir(copy)) == sorted(contents)
        for name, versions in contents.items():
            assert sorted(os.listdir(copy / name)) == [f"{date(n).decode()}.bin" for n, _data in versions]
            for n, data in versions:
                path = copy / name / f"{date(n).decode()}.bin"
                assert path.read_bytes() == data
                assert path.read_bytes() == (item / date(n).decode() / "docs" / name).read_bytes()
        done = subprocess.run(["diff", "-r", copy, item / ".versions" / "docs"], capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        found = subprocess.run(
            ["find", item / ".versions", "-type", "f"], capture_output=True, text=True, check=True
        )
        assert len(found.stdout.splitlines()) == sum(map(len, contents.values()))

        name = min(contents)
        before = os.listdir(item / ".versions" / "docs" / name)
        m = Maker(vault)
        add_point(vault, m.root([m.folder(b"docs", [m.file(name.encode(), b"new")])]), 13, START + 12 * DAY)
        versions_of = item / ".versions" / "docs" / name
        eventually(lambda: len(os.listdir(versions_of)) > len(before), "the new version appears")
        assert (versions_of / f"{date(12).decode()}.bin").read_bytes() == b"new"
        assert home.mounts()[0]["errors"] == 0
        one = home.mount("--point", "latest", name="one")
        assert not (one / ".versions").exists()
    finally:
        home.close()
