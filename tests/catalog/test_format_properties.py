"""Folders and files of any size: all that is written is found again, and a small change writes little."""

from __future__ import annotations

import random
import stat
from bisect import bisect_left, bisect_right
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.values import TYPE_BITS, Hole, NodeKind, Owner, Paged, Piece, Subtree, kind_of
from catalog.format.writing import FolderWriter, PieceWriter, begins_page, write_folder
from catalog.tree import Pieces, leaves, lookup, walk
from tests.kit.format_values import (
    FEW,
    Pages,
    names,
    nodes,
    plain,
    some_names,
    some_pieces,
)

# --- folders -----------------------------------------------------------------------------------------------


@FEW
@given(st.data(), st.sets(names, max_size=12))
def test_entries_of_every_kind_come_back(data: st.DataObject, chosen: set[bytes]) -> None:
    pages = Pages()
    written = [data.draw(nodes(name)) for name in sorted(chosen)]
    folder = write_folder(written, pages.write)
    assert (folder is None) == (not written)
    assert [f.leaf.node(f.entry) for f in all_of(pages, folder)] == written


def all_of(pages: Pages, folder: Subtree | None) -> list[Any]:
    """The entries of one folder, as `walk` returns them, without those below."""
    return [
        found
        for page in leaves(pages, folder, 1)
        for entry in page.leaf.entries
        if (found := lookup(pages, folder, 1, entry.name)) is not None
    ]


@FEW
@example(0, 0)
@example(1, 0)
@example(3000, 1)
@given(st.integers(0, 3000), st.integers(0, 2**32))
def test_folders_of_any_size(count: int, seed: int) -> None:
    pages, names = Pages(), some_names(count, seed)
    below = write_folder([plain(b"x"), plain(b"y")], pages.write)
    chance = random.Random(seed)
    written = []
    for n, name in enumerate(names):
        node = plain(name, n)
        if chance.random() < 0.1:
            node.kind, node.content = NodeKind.FOLDER, below
        written.append(node)
    folder = write_folder(written, pages.write)
    walked = list(walk(pages, folder))
    assert [w.found.number for w in walked] == list(range(2, len(walked) + 2))
    assert [w.path for w in walked if b"/" not in w.path] == names
    assert (folder.totals.entries if folder else 0) == len(walked)
    assert all(len(p) <= 64 << 10 for p in pages.pages.values())

    numbers = {w.path: w.found.number for w in walked}
    for name in chance.sample(names, min(count, 30)):
        pages.reads = 0
        found = lookup(pages, folder, 1, name)
        assert found is not None and folder is not None
        assert (found.entry.name, found.number) == (name, numbers[name])
        assert pages.reads == folder.level + 1
    for absent in (
        b"\x01",
        b"\xff",
        *(n[:-1] + bytes([n[-1] ^ 1]) for n in names[:30]),
        *(n + b"0" for n in names[:9]),
    ):
        if absent not in numbers:
            assert lookup(pages, folder, 1, absent) is None
    start = chance.choice(names) if names else b"a"
    rest = [e.name for p in leaves(pages, folder, 1, start=start) for e in p.leaf.entries]
    assert [n for n in rest if n >= start] == names[bisect_left(names, start) :]


@FEW
@given(st.integers(1, 3000), st.integers(0, 2**32))
def test_one_changed_entry_rewrites_a_page_of_each_level(count: int, seed: int) -> None:
    pages = Pages()
    names = some_names(count, seed)
    written = [plain(name, n) for n, name in enumerate(names)]
    before = write_folder(written, pages.write)
    pages.writes = 0
    changed = random.Random(seed).randrange(count)
    written[changed] = plain(names[changed], 10**6)
    after = write_folder(written, pages.write)
    assert before is not None and after is not None
    assert after.level == before.level
    assert pages.writes == after.level + 1


def borders(pages: Pages, folder: Subtree | None) -> set[bytes]:
    return {page.leaf.entries[0].name for page in leaves(pages, folder, 1)}


@FEW
@example(3000, 0)
@given(st.integers(1, 3000), st.integers(0, 2**32))
def test_borders_depend_on_names_where_pages_are_not_full(count: int, seed: int) -> None:
    names = some_names(count, seed)
    chosen = {n for n in names if begins_page(n, 0)} | {names[0]}
    varied: list[dict[str, Any]] = [
        {"content": []},
        {"xattrs": {b"user.a": b"1"}, "content": some_pieces(30, 0.1, seed)},
    ]
    for fields in varied:
        pages = Pages()
        folder = write_folder([plain(n, **fields) for n in names], pages.write)
        assert chosen <= borders(pages, folder)
        for page in leaves(pages, folder, 1, start=names[0]):
            last = bisect_left(names, page.leaf.entries[-1].name)
            if last + 1 < len(names) and names[last + 1] not in chosen:
                assert len(msgspec.msgpack.encode(page.leaf.entries)) > 12 << 10, "cut though it was not full"


@FEW
@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 2**32))
def test_so_far_is_the_folder_of_the_nodes_so_far(done: int, more: int, seed: int) -> None:
    names = some_names(done + more, seed)
    whole, pages = Pages(), Pages()
    want = write_folder([plain(n) for n in names], whole.write)
    writer = FolderWriter(pages.write)
    for name in names[:done]:
        writer.add(plain(name))
    assert writer.so_far(plain(n) for n in names[done:]) == want
    for name in names[done:]:
        writer.add(plain(name))
    assert writer.finish() == want


def test_folders_nested_deeper_than_calls_can_be() -> None:
    pages = Pages()
    folder = None
    for _ in range(3000):
        node = Node(b"d", NodeKind.FOLDER, 0o755, Owner(0, 0), 0, 0, 0, 0, content=folder)
        folder = write_folder([node], pages.write)
    assert [w.found.number for w in walk(pages, folder)] == list(range(2, 3002))


@FEW
@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=30))
def test_pages_stay_small_whatever_their_entries_hold(sizes: list[int]) -> None:
    pages = Pages()
    written = [
        plain(b"%03d" % n, n, xattrs={b"user.%d" % k: bytes([n]) * 4096 for k in range(size // 4096)})
        for n, size in enumerate(sizes)
    ]
    folder = write_folder(written, pages.write)
    assert all(len(p) <= 64 << 10 for p in pages.pages.values())
    assert [w.found.leaf.node(w.found.entry).xattrs or {} for w in walk(pages, folder)] == [
        w.xattrs or {} for w in written
    ]


# --- pieces ------------------------------------------------------------------------------------------------


def piece_at(run: tuple[list[int], list[Piece]], offset: int) -> int:
    """Index in a run of the piece that holds `offset`; -1 if the run doesn't reach it."""
    starts, pieces = run
    n = bisect_right(starts, offset) - 1
    return n if n >= 0 and offset < starts[n] + pieces[n].length else -1


def merged(pieces: list[Piece]) -> list[Piece]:
    """The pieces with adjacent holes merged."""
    out: list[Piece] = []
    for p in pieces:
        if isinstance(p, Hole) and out and isinstance(out[-1], Hole):
            out[-1] = Hole(out[-1].length + p.length)
        else:
            out.append(p)
    return out


@FEW
@example(0, 0, 0)
@example(32, 0, 0)
@example(33, 0, 0)
@example(20_000, 0.3, 1)
@example(2_000, 1, 1)
@given(st.integers(0, 20_000), st.sampled_from((0, 0.1, 0.5, 0.95)), st.integers(0, 2**32))
def test_pieces_of_files_of_any_size(count: int, holes: float, seed: int) -> None:
    pages, made = Pages(), some_pieces(count, holes, seed)
    writer = PieceWriter(pages.write)
    for p in made:
        writer.add(p)
    content = writer.finish(b"d" * 16, 1)
    want = merged(made)
    assert isinstance(content, Paged) == (len(want) > 32)
    assert all(len(p) <= 64 << 10 for p in pages.pages.values())
    found = Pieces(pages, content)
    assert merged(list(found.all())) == want

    size = sum(p.length for p in want)
    chance = random.Random(seed)
    starts = [0]
    for p in want:
        starts.append(starts[-1] + p.length)
    for offset in [0, size - 1, *(chance.randrange(max(size, 1)) for _ in range(20))] if size else []:
        pages.reads = 0
        run = found.run(offset)
        n = piece_at(run, offset)
        assert n >= 0 and run[0][n] <= offset < run[0][n] + run[1][n].length
        if isinstance(run[1][n], Extent):
            assert run[0][n] in starts
        assert pages.reads <= (content.level + 1 if isinstance(content, Paged) else 0)
    assert piece_at(found.run(size), size) == -1


@settings(FEW, derandomize=True)  # the bound holds for nearly all files
@given(st.integers(100, 5_000), st.integers(0, 2**32))
def test_a_piece_put_in_front_rewrites_few_pages(count: int, seed: int) -> None:
    pages, made = Pages(), some_pieces(count, 0, seed)

    def write(pieces: list[Piece]) -> int:
        pages.writes = 0
        writer = PieceWriter(pages.write)
        for p in pieces:
            writer.add(p)
        content = writer.finish(b"d" * 16, 1)
        assert isinstance(content, Paged)
        return content.level

    write(made)
    all_pages = pages.writes
    new = Extent(b"n" * 16, 8, 99, 0, 1, b"\xff" * 16)
    level = write([new, *made])
    # The first page of each level, and in one of them what a page of 1,024 pieces pushes on to the next border.
    assert pages.writes <= min(all_pages + 1, level + 1 + 4)


@pytest.mark.parametrize("kind", NodeKind)
def test_each_kind_has_type_bits_of_its_own(kind: NodeKind) -> None:
    assert kind.bits == stat.S_IFMT(kind.bits) == TYPE_BITS[int(kind)]
    assert kind_of(kind.bits | 0o6755) == kind and type(kind_of(kind.bits)) is int
    assert stat.filemode(kind.bits)[0] == "-dlpcbs"[kind]


def test_a_mode_without_a_type_has_no_kind() -> None:
    with pytest.raises(KeyError):
        kind_of(0o644)
