"""Trees are cut into parts by their totals: all entries are in one part, each once, and few pages are read."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator

import pytest

from catalog.direct import DirectSource
from catalog.errors import Damaged
from catalog.format.packs import Extent
from catalog.format.pages import ExtentRow, FolderChild, FolderIndex, Leaf
from catalog.format.values import NodeKind, Subtree, Totals
from catalog.store.memory import MemoryStore
from catalog.tree import PageSource, walk
from catalog.vault import Vault
from mount.fleet.restoring.spans import END, EVERYTHING, TOP, Limits, Span, cut, entries_in
from tests.kit.drives import Maker
from tests.kit.vaultmaker import open_empty


class Counting:
    """Counts the pages that are read."""

    def __init__(self, inner: PageSource) -> None:
        self._inner, self.read = inner, 0

    def leaf(self, at: Extent) -> Leaf:
        self.read += 1
        return self._inner.leaf(at)

    def folder_index(self, at: Extent) -> FolderIndex:
        self.read += 1
        return self._inner.folder_index(at)

    piece_leaf = piece_index = None


@pytest.fixture(scope="module")
def tree() -> tuple[PageSource, Subtree]:
    """Folders in folders, empty ones too; one of 3,000 names; files of sizes that differ much."""
    vault = open_empty(MemoryStore())
    maker, rng = Maker(vault), random.Random(8)

    def folder(name: bytes, depth: int) -> object:
        nodes = [
            maker.node(b"file %d" % n, size=rng.choice((0, 10, 5_000, 300_000)), content=[])
            for n in range(rng.randrange(12))
        ]
        nodes += [maker.node(b"link %d" % n, NodeKind.SYMLINK, content=b"x") for n in range(rng.randrange(3))]
        if depth:
            nodes += [folder(b"folder %d" % n, depth - 1) for n in range(rng.randrange(1, 5))]  # type: ignore[misc]
        return maker.folder(name, nodes)

    many = [maker.node(b"name %05d" % n, size=100, content=[]) for n in range(3_000)]
    root = maker.root([folder(b"a", 4), maker.folder(b"many", many), folder(b"z", 3)])  # type: ignore[list-item]
    maker.trees.finish()
    return DirectSource(vault), root


def inside(pages: PageSource, top: Subtree, span: Span) -> Iterator[tuple[int, bytes]]:
    """The entries in a span, with their numbers, as a part finds them."""

    def lost(e: Damaged) -> None:
        raise AssertionError(f"no page is damaged: {e}")

    stack = [entries_in(pages, top, TOP, span, lost)]
    while stack:
        found = next(stack[-1], None)
        if found is None:
            stack.pop()
            continue
        if span.holds(found.number):
            yield found.number, found.entry.name
        if found.entry.kind == NodeKind.FOLDER:
            stack.append(entries_in(pages, found.leaf.subtree(found.entry), found.number, span, lost))


@pytest.mark.parametrize("limits", [Limits(1, 1), Limits(7, 10**6), Limits(100, 10**9), Limits(10**6, 4_000)])
def test_each_entry_is_in_one_part(tree: tuple[PageSource, Subtree], limits: Limits) -> None:
    pages, top = tree
    wanted = [(w.found.number, w.found.entry.name) for w in walk(pages, top, TOP)]
    parts = list(cut(pages, top, limits))
    assert [entry for part in parts for entry in inside(pages, top, part.span)] == wanted
    assert parts[0].span.first == TOP and parts[-1].span.end == END
    assert [p.span.end for p in parts[:-1]] == [p.span.first for p in parts[1:]]
    assert sum(p.files for p in parts) == top.totals.files and sum(p.size for p in parts) == top.totals.bytes
    for part in parts[:-1]:
        assert part.span.end - part.span.first <= limits.entries + 1 or part.files <= 1
        assert part.size <= limits.size or part.files == 1
    ends = {part.span.end for part in parts}
    for w in walk(pages, top, TOP):
        below = w.found.leaf.subtree(w.found.entry) if w.found.entry.kind == NodeKind.FOLDER else None
        if below is not None and below.totals.entries < limits.entries and below.totals.bytes <= limits.size:
            number, after = w.found.number, w.found.number + below.totals.entries
            assert not ends.intersection(range(number + 1, after + 1))  # who makes a folder fills it


def test_few_pages_are_read(tree: tuple[PageSource, Subtree]) -> None:
    pages, top = tree
    counting = Counting(pages)
    assert len(list(cut(counting, top, Limits(10**6, 10**12)))) == 1  # type: ignore[arg-type]
    assert counting.read == 0
    parts = list(cut(counting, top, Limits(500, 10**12)))  # type: ignore[arg-type]
    cutting, counting.read = counting.read, 0
    list(inside(counting, top, EVERYTHING))  # type: ignore[arg-type]
    everything, counting.read = counting.read, 0
    for part in parts:
        list(inside(counting, top, part.span))  # type: ignore[arg-type]
    assert cutting < everything / 10
    assert counting.read <= everything + 4 * len(parts)  # the pages that lead to a part, and one at each end
    counting.read = 0
    folders = list(entries_in(counting, top, TOP, EVERYTHING, print, folders_only=True))  # type: ignore[arg-type]
    (many,) = (f for f in folders if f.entry.name == b"many")
    before = counting.read
    assert list(entries_in(counting, many.leaf.subtree(many.entry), 5, EVERYTHING, print, folders_only=True)) == []  # type: ignore[arg-type]
    assert counting.read == before


class Wide:
    """Entries in folders of a hundred, with the same few pages behind all: made as they are read."""

    def __init__(self, folders: int) -> None:
        self._vault = open_empty(MemoryStore())
        self._maker = Maker(self._vault)
        files = [self._maker.node(b"%03d" % n, size=50, content=[]) for n in range(100)]
        self.leaf_folders = [self._maker.folder(b"%06d" % n, files) for n in range(100)]
        self._folder = self._maker.trees.folder(self.leaf_folders)
        assert self._folder is not None
        self._maker.trees.finish()
        self.at, self.one = self._maker.trees.resolve(self._folder.at), self._folder.totals
        self._pages = DirectSource(self._vault)
        self.count = folders // 100
        total = Totals(*(n * self.count for n in self.one))
        self.top = Subtree(1 + self._folder.level, Extent(bytes(16), 0, 1, 0, 1, bytes(16)), total)

    def leaf(self, at: Extent) -> Leaf:
        return self._pages.leaf(at)

    def folder_index(self, at: Extent) -> FolderIndex:
        if at.pack != bytes(16):
            return self._pages.folder_index(at)
        child = FolderChild(b"x", ExtentRow(0, *self.at[1:]), self.one)
        return FolderIndex([self.at.pack], [child] * self.count, None)


def test_parts_are_made_as_they_are_asked_for() -> None:
    """Ten million entries: a part at a time is in memory, beside the pages that lead to it."""
    wide = Wide(100_000)
    assert wide.top.totals.entries == 10_100_000
    limits = Limits.of(wide.top.totals)
    assert limits.entries == 20_000
    tracemalloc.start()
    count = sum(part.files > 0 for part in cut(wide, wide.top, limits))  # type: ignore[arg-type]
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count >= 505 and most < 2 << 20


@pytest.mark.parametrize("off", [-1, 1])
def test_totals_that_are_wrong(off: int) -> None:
    """Numbers would pass entries by: this is damage, and no part is silently smaller."""
    vault: Vault = open_empty(MemoryStore())
    maker = Maker(vault)
    below = maker.trees.folder([maker.node(b"%d" % n, content=[]) for n in range(5)])
    assert below is not None
    t = below.totals
    wrong = Subtree(below.level, below.at, Totals(t.entries + off, t.files + off, t.bytes, t.xattrs))
    root = maker.root([maker.node(b"folder", NodeKind.FOLDER, content=wrong), maker.node(b"z", content=[])])
    maker.trees.finish()
    pages = DirectSource(vault)
    parts = list(cut(pages, root, Limits(2, 10**9)))
    failed = 0
    for part in parts:
        try:
            list(inside(pages, root, part.span))
        except Damaged:
            failed += 1
    assert failed
