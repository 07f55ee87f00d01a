"""Whatever is lost: the mark counts the files that a plain walk can't give back, point by point."""

from __future__ import annotations

import random

import pytest

from catalog.direct import DirectSource
from catalog.errors import Damaged, ShortRead
from catalog.format.blocks import PackKind
from catalog.format.packs import Extent, pack_name, pack_named
from catalog.format.records import Point
from catalog.format.values import NodeKind, Subtree
from catalog.mark.faults import Bad, FaultKind, Harmed, Place
from catalog.mark.roots import find_roots
from catalog.mark.run import mark
from catalog.points.choice import find
from catalog.store.memory import MemoryStore
from catalog.tree import Pieces, leaves
from catalog.vault import Vault
from tests.kit.random_trees import RandomTrees
from tests.kit.vaults import new_vault

Files = set[bytes]


def all_files(vault: Vault, point: Point) -> dict[bytes, bool]:
    """What is no folder in a point, by its path: whether a plain read of its pages and packs brings all of it."""
    source, found = DirectSource(vault), dict[bytes, bool]()
    stack: list[tuple[bytes, Subtree | None]] = [(b"", point.root.subtree() if point.root else None)]
    while stack:
        path, folder = stack.pop()
        for page in leaves(source, folder, 1):
            for entry in page.leaf.entries:
                here = path + entry.name
                if entry.kind == NodeKind.FOLDER:
                    stack.append((here + b"/", page.leaf.subtree(entry)))
                    continue
                found[here] = all(whole(vault, source, one) for one in page.leaf.contents(entry))
    return found


def whole(vault: Vault, source: DirectSource, content: object) -> bool:
    try:
        for piece in Pieces(source, content).all():  # type: ignore[arg-type]
            if isinstance(piece, Extent):
                vault.fetch_block(PackKind.DATA, piece)
    except (Damaged, ShortRead):
        return False
    return True


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.places.PATIENCE", 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_lost_data_packs_harm_the_files_that_a_plain_read_misses(seed: int) -> None:
    memory = MemoryStore()
    vault = new_vault(memory)
    trees = RandomTrees(vault, seed, target=4000)
    points = [trees.point() for _ in range(5)]
    packs = sorted(name for name in memory.objects if name.startswith("packs/"))
    lost = set(random.Random(seed).sample(packs, 2))
    for name in lost:
        del memory.objects[name]

    def is_bad(kind: PackKind, pack: bytes, start: int, end: int) -> Bad | None:
        name = pack_name(kind, pack)
        return Bad(name, f"{name} is missing", Place(kind, pack)) if name in lost else None

    with mark(vault, find_roots(vault), is_bad=is_bad) as marked:
        harmed = {name.id: harm for name, harm in marked.harmed.items()}
        assert not marked.is_blind
        met = {(PackKind.DATA, pack_named(name)) for name in lost}
    expected = {}
    for point in points:
        bad = {path for path, good in all_files(vault, point).items() if not good}
        if bad:
            expected[point.id] = bad
    assert {one: harm.files for one, harm in harmed.items()} == {one: len(bad) for one, bad in expected.items()}
    assert all(set(harm.paths) <= expected[one] for one, harm in harmed.items())
    assert {f.kind for f in marked.faults} <= {FaultKind.CONTENT} and marked.lost <= met


@pytest.mark.parametrize("seed", range(3))
def test_lost_tree_packs_harm_the_files_below_them(seed: int) -> None:
    memory = MemoryStore()
    vault = new_vault(memory)
    trees = RandomTrees(vault, seed)
    points = [trees.point() for _ in range(5)]
    before = {point.id: all_files(vault, point) for point in points}
    packs = sorted(name for name in memory.objects if name.startswith("meta/"))
    lost = random.Random(seed).choice(packs)
    del memory.objects[lost]
    with mark(vault, find_roots(vault)) as marked:
        harmed = {name.id: harm for name, harm in marked.harmed.items()}
        assert marked.is_blind == bool(harmed) == bool(marked.damaged)
    for point in points:
        harm = harmed.get(point.id, Harmed(0, ()))
        files = before[point.id]
        folders = tuple(path for path in harm.paths if path.endswith(b"/"))
        single = {path for path in harm.paths if not path.endswith(b"/")}
        below = {path for path in files if (b"/" if b"/" in folders else path).startswith(folders)}
        assert single <= set(files)
        assert len(single) <= harm.files <= len(below | single)
        readable = {path for path in files if path not in below | single}
        assert can_all_be_read(vault, point, readable)


def can_all_be_read(vault: Vault, point: Point, paths: Files) -> bool:
    """Whether the folders of these files, and their pieces, can be read."""
    source = DirectSource(vault)
    root = point.root.subtree() if point.root else None
    for path in paths:
        place = find(source, root, path)
        assert place.found is not None
        for content in place.found.leaf.contents(place.found.entry):
            if not whole(vault, source, content):
                return False
    return True
