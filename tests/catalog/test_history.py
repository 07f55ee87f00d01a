"""find, versions and diff: equal to a naive comparison of all points, at the cost of the pages that differ."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from catalog.direct import DirectSource
from catalog.errors import Damaged, MissingData, UsageError
from catalog.format.keys import file_digest
from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.records import Point
from catalog.format.values import Hole, NodeKind, Owner, Piece
from catalog.history.difference import difference, root_of
from catalog.history.overlay import first, last, numbers, root_strands, walk
from catalog.history.search import pattern, search
from catalog.history.show import raise_damaged
from catalog.history.timeline import all_timelines
from catalog.history.versions import versions
from catalog.points.opening import read_points
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault
from tests.kit.cli import Cli
from tests.kit.drives import MACHINE, add_machine, add_point
from tests.kit.stores import MOST
from tests.kit.vaultmaker import SmallFiles, Trees, open_empty

SECOND = 10**9
START = 1_790_000_000 * SECOND
ANY = Owner(1000, 1000, "someone", "people")


@pytest.fixture
def store() -> MeteredStore:
    return MeteredStore(MemoryStore())


# --- a model ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class File:
    """A path in a point. `content` of a file is a list of pieces: bytes, or the length of a hole."""

    kind: NodeKind
    content: Any = None
    mode: int = 0o644
    mtime: int = START
    owner: Owner = ANY
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    nlink: int = 1


@dataclass
class Model:
    """Points of one item as dicts of paths, and the same written into a vault."""

    vault: Vault
    seed: int
    paths: dict[bytes, File] = field(default_factory=dict)
    states: list[dict[bytes, File]] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._trees = Trees(self.vault)
        self._place = 0  # location of the data; changes when a tree is rewritten

    def some_file(self) -> File:
        rng = self.rng
        kind = rng.choices((NodeKind.FILE, NodeKind.SYMLINK, NodeKind.FIFO), (20, 2, 1))[0]
        if kind is NodeKind.SYMLINK:
            return File(kind, b"target %d" % rng.randrange(3), 0o777)
        if kind is NodeKind.FIFO:
            return File(kind)
        count = 40 if rng.random() < 0.05 else rng.randrange(3)
        pieces = tuple(rng.choice((b"one", b"two", b"three", 4096)) for _ in range(count))
        return File(kind, pieces, mtime=START + rng.randrange(3))

    def edit(self) -> None:
        rng = self.rng
        folders = [b"", *(p for p, f in self.paths.items() if f.kind is NodeKind.FOLDER)]
        for _ in range(rng.choice((0, 1, 3, 10))):
            path = rng.choice(list(self.paths)) if self.paths else None
            what = rng.choice(("new", "new", "folder", "remove", "change", "change", "mode", "replace", "many"))
            if what in ("new", "folder", "many") or path is None:
                parent = rng.choice(folders)
                if parent and self.paths.get(parent, File(NodeKind.FIFO)).kind is not NodeKind.FOLDER:
                    continue
                for _ in range(300 if what == "many" and rng.random() < 0.3 else 1):
                    name = rng.choice((b"a", b"b", b"\xff", b"x.txt", b"%d.odt" % rng.randrange(500)))
                    f = File(NodeKind.FOLDER, mode=0o755) if what == "folder" else self.some_file()
                    self.paths.setdefault(parent + b"/" + name, f)
            elif what == "remove":
                self._remove(path)
            elif what == "replace":
                self._remove(path)
                self.paths[path] = rng.choice((File(NodeKind.FOLDER, mode=0o755), self.some_file()))
            elif what == "mode":
                f = self.paths[path]
                self.paths[path] = File(f.kind, f.content, rng.choice((0o600, 0o644)), f.mtime, f.owner,
                                        rng.choice(((), ((b"user.a", b"1"),))), f.nlink)  # fmt: skip
            elif self.paths[path].kind is NodeKind.FILE:
                self.paths[path] = self.some_file()

    def _remove(self, path: bytes) -> None:
        for other in list(self.paths):
            if other == path or other.startswith(path + b"/"):
                del self.paths[other]

    def commit(self) -> None:
        if self.rng.random() < 0.2:  # as a backup does occasionally: everything is rewritten, elsewhere
            self._trees.forget()
            self._place += 1
        top = self._folder(b"")
        root = self._trees.root(top) if top is not None else None
        n = len(self.points)
        self.points.append(add_point(self.vault, root, n + 1, START + n * 3600 * SECOND))
        self.states.append(dict(self.paths))

    def _folder(self, path: bytes) -> Any:
        names = sorted(p[len(path) + 1 :] for p in self.paths if p.rpartition(b"/")[0] == path)
        return self._trees.folder([self._node(path + b"/" + name, name) for name in names])

    def _node(self, path: bytes, name: bytes) -> Node:
        f = self.paths[path]
        content, size = f.content, 0
        if f.kind is NodeKind.FOLDER:
            content = self._folder(path)
        elif f.kind is NodeKind.FILE:
            pieces = [self._piece(p) for p in f.content]
            size = sum(p.length for p in pieces)
            content = pieces if len(pieces) <= 32 else self._trees.pieces(pieces)
        inode = len(path) + self._place
        return Node(name, f.kind, f.mode, f.owner, size, f.mtime, START, inode, f.nlink, 0, content,
                    dict(f.xattrs) or None)  # fmt: skip

    def _piece(self, piece: bytes | int) -> Piece:
        if isinstance(piece, int):
            return Hole(piece)
        place = hashlib.sha256(b"%d" % self._place).digest()[:16]
        return Extent(place, 8 + self._place, 100, 0, len(piece), self.vault.keys.chunk_id(piece))

    def identity(self, f: File) -> Any:
        if f.kind is not NodeKind.FILE:
            return f.kind, f.content
        ids = self.vault.keys.chunk_id
        pieces = [(p, None) if isinstance(p, int) else (len(p), ids(p)) for p in f.content]
        return f.kind, file_digest(pieces)

    def every_path(self) -> list[bytes]:
        return sorted({p for state in self.states for p in state}, key=lambda p: p.split(b"/"))

    def holders(self, path: bytes) -> list[int]:
        return [n for n, state in enumerate(self.states) if path in state]

    def differences(self, a: int, b: int, path: bytes = b"") -> dict[bytes, set[str]]:
        old, new = self.states[a], self.states[b]
        found: dict[bytes, set[str]] = {}
        for p in old.keys() | new.keys():
            if path and p != path and not p.startswith(path + b"/"):
                continue
            x, y = old.get(p), new.get(p)
            if x is None or y is None:
                found[p] = {"added" if x is None else "removed"}
                continue
            what = set()
            if x.kind != y.kind:
                what.add("type")
            elif self.identity(x) != self.identity(y):
                what.add("content")
            for word, same in (
                ("mode", x.mode == y.mode), ("time", x.mtime == y.mtime), ("xattrs", x.xattrs == y.xattrs),
            ):  # fmt: skip
                if not same:
                    what.add(word)
            if what:
                found[p] = what
        return found


def build(vault: Vault, seed: int, count: int = 15) -> Model:
    model = Model(vault, seed)
    for _ in range(count):
        model.edit()
        model.commit()
    return model


@pytest.mark.parametrize("seed", range(8))
def test_equal_to_a_naive_comparison(store: MeteredStore, seed: int) -> None:
    model = build(open_empty(store), seed)
    source = DirectSource(model.vault)
    every = model.every_path()
    assert len(every) > 5

    hits = list(search(source, model.points, lambda path: True))
    assert [h.path for h in hits] == every
    for hit in hits:
        holders = model.holders(hit.path)
        assert list(numbers(hit.points)) == holders
        newest = model.states[holders[-1]][hit.path]
        assert (hit.entry.kind, hit.entry.mode, hit.entry.mtime) == (newest.kind, newest.mode, newest.mtime)
        contents = [model.identity(model.states[n][hit.path]) for n in holders]
        if NodeKind.FOLDER not in {kind for kind, _content in contents}:
            assert hit.versions == len(set(contents))
    odt = [h.path for h in search(source, model.points, pattern("[0-4]*.odt"))]
    assert odt == [p for p in every if fnmatch.fnmatchcase(os.fsdecode(p.rpartition(b"/")[2]), "[0-4]*.odt")]

    for path in every:
        history = versions(source, model.points, path)
        grouped: dict[Any, list[int]] = {}
        for n in model.holders(path):
            f = model.states[n][path]
            key = (f.kind, None) if f.kind is NodeKind.FOLDER else model.identity(f)
            grouped.setdefault(key, []).append(n)
        merged: dict[Any, list[int]] = {}
        for version in history.found:
            entry = version.variant.entry
            key = (entry.kind, None) if entry.kind == NodeKind.FOLDER else first(version.points)
            merged[key] = sorted([*merged.get(key, []), *numbers(version.points)])
            earliest = model.states[first(version.points)][path]
            assert (entry.mode, entry.mtime) == (earliest.mode, earliest.mtime)
        assert sorted(merged.values()) == sorted(grouped.values())
        assert list(numbers(history.missing)) == [n for n in range(15) if path not in model.states[n]]

    rng = random.Random(seed)
    for _ in range(12):
        a, b = rng.randrange(15), rng.randrange(15)
        path = rng.choice([b"", *every])
        changes = list(difference(source, root_of(model.points[a]), root_of(model.points[b]), path))
        assert {c.path: set(c.what) for c in changes} == model.differences(a, b, path)
        assert len(changes) == len({c.path for c in changes})


# --- what it costs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def edited() -> tuple[MeteredStore, list[Point], SmallFiles]:
    """200 points of 4,000 files, each with one file edited."""
    store = MeteredStore(MemoryStore())
    small = SmallFiles(open_empty(store), folders=40, each=100, largest=1 << 10)
    points = [add_point(small.vault, small.root, 1, START)]
    for n in range(199):
        small.edit(1)
        points.append(add_point(small.vault, small.root, n + 2, START + (n + 1) * 3600 * SECOND))
    return store, points, small


def blocks_of(vault: Vault, points: list[Point]) -> set[tuple[bytes, int]]:
    """The tree blocks of some trees, by a walk of each."""

    class Noting(DirectSource):
        def chunk(self, at: Extent) -> Any:
            blocks.add((at.pack, at.offset))
            return super().chunk(at)

    blocks: set[tuple[bytes, int]] = set()
    for point in points:
        for _path, _variants in walk(Noting(vault), root_strands([point])):
            pass
    return blocks


@pytest.mark.slow
def test_find_in_200_points_reads_each_tree_block_once(
    edited: tuple[MeteredStore, list[Point], SmallFiles],
) -> None:
    store, points, small = edited
    line = all_timelines(small.vault).found[0]
    before = store.snapshot()
    one = list(search(DirectSource(small.vault), points[-1:], pattern("*.txt")))
    single = store.snapshot() - before

    before = store.snapshot()
    everywhere = list(search(DirectSource(small.vault), line.points, pattern("*.txt")))
    spent = store.snapshot() - before
    assert [h.path for h in everywhere] == [h.path for h in one]
    assert all(h.points == (1 << 200) - 1 for h in everywhere)
    assert sum(h.versions - 1 for h in everywhere) == 199
    assert single.requests == len(blocks_of(small.vault, points[-1:]))
    assert spent.requests == spent.read.requests == len(blocks_of(small.vault, points))
    assert spent.received <= sum(i.size for i in store.inner.list("meta/"))


def test_versions_over_200_points_read_the_pages_on_the_way_once(
    edited: tuple[MeteredStore, list[Point], SmallFiles],
) -> None:
    store, points, small = edited
    before = store.snapshot()
    history = versions(DirectSource(small.vault), points, b"/folder-003/file-007.txt")
    spent = store.snapshot() - before
    assert sum(v.points.bit_count() for v in history.found) == 200 and history.missing == 0
    assert spent.requests <= len(blocks_of(small.vault, points))


def test_diff_of_neighbours_reads_what_differs(edited: tuple[MeteredStore, list[Point], SmallFiles]) -> None:
    store, points, small = edited
    before = store.snapshot()
    changes = list(difference(DirectSource(small.vault), root_of(points[50]), root_of(points[51])))
    spent = store.snapshot() - before
    assert [c.what for c in changes] == [("content", "time")]
    assert spent.requests <= 4
    before = store.snapshot()
    assert list(difference(DirectSource(small.vault), root_of(points[50]), root_of(points[50]))) == []
    assert (store.snapshot() - before).requests == 0


@pytest.mark.slow
def test_one_changed_name_among_100_000_costs_a_few_pages(store: MeteredStore) -> None:
    vault = open_empty(store)
    trees = Trees(vault)
    rng = random.Random(1)
    names = sorted({rng.randbytes(8).hex().encode() for _ in range(100_000)})

    def point(sequence: int, changed: bytes) -> Point:
        nodes = [
            Node(name, NodeKind.FILE, 0o600 if name == changed else 0o644, ANY, 0, START, START, 1, content=[])
            for name in names
        ]
        many = trees.folder(nodes)
        return add_point(vault, trees.root(trees.folder([_folder(b"many", many)])), sequence, START + sequence)

    points = [point(1, b""), point(2, names[77_777]), point(3, names[5])]
    before = store.snapshot()
    changes = list(difference(DirectSource(vault), root_of(points[1]), root_of(points[2])))
    spent = store.snapshot() - before
    assert [c.path for c in changes] == [b"/many/" + names[5], b"/many/" + names[77_777]]
    assert spent.requests <= 12
    # All of the first point once, and a few pages of the others; where two reads meet, a block is read twice.
    before = store.snapshot()
    hits = list(search(DirectSource(vault), points, pattern(names[77_777].decode())))
    spent = store.snapshot() - before
    assert [list(numbers(h.points)) for h in hits] == [[0, 1, 2]]
    assert spent.received <= 1.2 * sum(i.size for i in store.inner.list("meta/"))
    assert spent.requests <= 20


def _folder(name: bytes, content: Any) -> Node:
    return Node(name, NodeKind.FOLDER, 0o755, ANY, 0, START, START, 1, content=content)


# --- what is missing or wrong -------------------------------------------------------------------------------


def test_a_tree_that_is_damaged_is_named(store: MeteredStore) -> None:
    model = build(open_empty(store), 3)
    root = root_of(model.points[-1])
    assert root is not None
    for info in list(store.inner.list("meta/")):
        data = bytearray(store.inner.get(info.name, MOST))
        data[8 + 20] ^= 1  # in the first block
        store.inner.delete(info.name)
        store.inner.create(info.name, [data])
    with pytest.raises(Damaged):
        list(search(DirectSource(model.vault), model.points, lambda path: True))
    for info in list(store.inner.list("meta/")):
        store.inner.delete(info.name)
    with pytest.raises(MissingData):
        list(search(DirectSource(model.vault), model.points, lambda path: True))
    with pytest.raises(MissingData):
        versions(DirectSource(model.vault), model.points, b"/a")


def test_a_point_that_cannot_be_read_hides_no_other(store: MeteredStore) -> None:
    model = build(open_empty(store), 3)
    name = next(i.name for i in store.inner.list("points/"))
    store.inner.delete(name)
    store.inner.create(name, [b"garbage"])
    lines = all_timelines(model.vault)
    assert [len(line.points) for line in lines.found] == [14]
    with pytest.raises(Damaged):
        raise_damaged(lines)
    assert read_points(model.vault, model.vault.point_names())[1]


# --- patterns -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "fits", "fits_not"),
    [
        ("a.txt", {}, [b"/a.txt", b"/x/a.txt"], [b"/x/a.txt2", b"/a.txt/b", b"/A.txt", b"/ba.txt"]),
        ("*.txt", {}, [b"/x/a.txt", b"/.txt", b"/\xff.txt"], [b"/x.txt/b"]),
        ("[ab]?", {}, [b"/x/a1"], [b"/x/a", b"/c1"]),
        ("x/*.txt", {}, [b"/x/a.txt", b"/y/x/a.txt", b"/x/y/a.txt"], [b"/xx/a.txt", b"/a.txt"]),
        ("/x/*.txt", {}, [b"/x/a.txt", b"/x/y/a.txt"], [b"/y/x/a.txt"]),
        ("letters/", {}, [b"/x/letters"], [b"/x/letters/a"]),
        ("A.TXT", {"ignore_case": True}, [b"/x/a.txt"], [b"/x/b.txt"]),
        (r"/x/.*\.(txt|odt)$", {"regex": True}, [b"/y/x/a.odt"], [b"/x/a.odt.bak"]),
        ("^/x", {"regex": True}, [b"/x/a", b"/xx"], [b"/y/x"]),
        (os.fsdecode(b"\xff*"), {}, [b"/a/\xffx"], [b"/a/x"]),
        ("a\nb", {}, [b"/a\nb"], [b"/ab"]),
    ],
)
def test_patterns(text: str, options: dict[str, bool], fits: list[bytes], fits_not: list[bytes]) -> None:
    test = pattern(text, **options)
    assert [p for p in fits if not test(p)] == []
    assert [p for p in fits_not if test(p)] == []


def test_patterns_that_cannot_be() -> None:
    with pytest.raises(UsageError):
        pattern("(", regex=True)
    with pytest.raises(UsageError):
        pattern("")


# --- commands -----------------------------------------------------------------------------------------------


@pytest.fixture
def saved(rpdrive: Cli, vault: Vault, tmp_path: Path) -> tuple[Cli, Path, list[str]]:
    """Three real backups of a folder: a file edited, then spoiled and another removed."""
    data = tmp_path / "data"
    (data / "letters").mkdir(parents=True)
    (data / "letters" / "a.txt").write_text("dear a")
    (data / "letters" / "b.txt").write_text("dear b")
    os.link(data / "letters" / "a.txt", data / "linked")
    (data / "budget.ods").write_text("1000")
    ids = [_backup(rpdrive, data)]
    (data / "budget.ods").write_text("1200, revised")
    (data / "letters" / "a.txt").chmod(0o600)
    ids.append(_backup(rpdrive, data))
    (data / "budget.ods").write_text("")
    (data / "letters" / "b.txt").unlink()
    (data / "letters" / "b.txt").symlink_to("a.txt")
    ids.append(_backup(rpdrive, data))
    return rpdrive, data, ids


def _backup(cli: Cli, data: Path) -> str:
    return str(cli.json("backup", data)["point"])


def test_the_commands_tell_the_story(saved: tuple[Cli, Path, list[str]]) -> None:
    cli, data, ids = saved
    budget, b = str(data / "budget.ods"), str(data / "letters" / "b.txt")

    found = cli.json("find", "--all-points", "*.ods")
    assert found["points"] == 3
    (row,) = found["found"]
    assert (row["path"], row["size"], row["points"], row["versions"]) == (budget, 0, 3, 3)
    assert (row["first"]["id"], row["last"]["id"]) == (ids[0], ids[2])
    assert [r["size"] for r in cli.json("find", "budget*", "--point", ids[1])["found"]] == [13]
    assert cli.ok("find", "*.ods").split()[-1] == budget
    assert budget in cli.ok("find", "-a", "*.ods") and "VERSIONS" in cli.ok("find", "-a", "*.ods")
    done = cli.run("find", "-a", "nowhere")
    assert (done.returncode, done.stdout) == (0, b"") and b"nothing in 3 recovery points" in done.stderr

    history = cli.json("versions", budget)
    (item,) = history["items"]
    assert [(v["size"], [p["id"] for p in v["points"]]) for v in item["versions"]] == [
        (4, [ids[0]]), (13, [ids[1]]), (0, [ids[2]])
    ]  # fmt: skip
    assert item["missing"] == []
    kinds = [v["kind"] for v in cli.json("versions", b)["items"][0]["versions"]]
    assert kinds == ["file", "symlink"]
    assert len(cli.ok("versions", budget).splitlines()) == 4
    assert len(cli.json("versions", str(data / "letters"))["items"][0]["versions"]) == 3
    assert "find" in cli.fails("versions", "/nowhere", code=4)
    recent = cli.json("versions", budget, "--newest", "2")
    assert recent["older"] == 1 and [v["size"] for v in recent["items"][0]["versions"]] == [13, 0]
    done = cli.run("find", "-a", "*.ods", "--newest", "1")
    assert budget.encode() in done.stdout and b"2 older recovery points not looked at" in done.stderr

    changes = {c["path"]: (c["mark"], c["what"]) for c in cli.json("diff", ids[0], ids[1])["changes"]}
    assert changes == {
        budget: ("M", ["content", "time"]),
        str(data / "letters" / "a.txt"): ("U", ["mode"]),
        str(data / "linked"): ("U", ["mode"]),  # the other link of the same file
    }
    second = cli.json("diff", ids[1], ids[2], "--content-only")
    assert {(c["mark"], c["path"]) for c in second["changes"]} == {("M", budget), ("T", b)}
    assert (second["changed"], second["type"], second["added"], second["metadata"]) == (1, 1, 0, 0)
    text = cli.ok("diff", ids[0], ids[2], str(data / "letters"), "--content-only")
    assert text.splitlines()[0].startswith(f"T  {b}  (") and len(text.splitlines()) == 2
    assert cli.ok("diff", ids[1], ids[1]) == "no differences\n"
    cli.fails("diff", ids[0], ids[1], "/nowhere", code=4)
    cli.fails("diff", ids[0], "ffffffff", code=4)
    cli.fails("find", "x", "--all-points", "--point", "latest", code=2)
    cli.fails("find", "x", "--newest", "2", code=2)


def test_items_of_several_machines(rpdrive: Cli, vault: Vault) -> None:
    trees = Trees(vault)
    root = trees.root(trees.folder([Node(b"etc", NodeKind.FIFO, 0o600, ANY, 0, START, START, 1)]))
    other = b"m" * 16
    for machine, name in ((MACHINE, "box"), (other, "old")):
        add_machine(vault, machine, name)
        for n in range(2):
            add_point(vault, root, n + 1, START + n * SECOND, machine=machine, machine_name=name)
    assert [i["machine"] for i in rpdrive.json("versions", "etc")["items"]] == ["box", "old"]
    assert [line for line in rpdrive.ok("find", "-a", "etc").splitlines() if line.endswith(":")] == [
        "box/home:", "old/home:"
    ]  # fmt: skip
    assert len(rpdrive.json("find", "-a", "etc", "--machine", "old")["found"]) == 1
    rpdrive.ok("machine", "rename", "box", "tower")
    rpdrive.ok("machine", "forget", "old")
    assert [f["machine"] for f in rpdrive.json("find", "-a", "etc")["found"]] == ["tower"]
    assert len(rpdrive.json("versions", "/etc", "--machine", "old")["items"]) == 1
    points = rpdrive.json("points", "--all")["points"]
    ends = [next(p["id"] for p in points if p["machine_id"] == m.hex()) for m in (MACHINE, other)]
    assert rpdrive.json("diff", *ends)["changes"] == []  # of two machines


def test_sets_of_points() -> None:
    points = 0b101100
    assert (first(points), last(points), list(numbers(points))) == (2, 5, [2, 3, 5])
    assert list(numbers(0)) == []
