"""The mark finds exactly what recovery points refer to, reading each page once."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from catalog.format.blocks import PackKind
from catalog.format.records import Point
from catalog.mark.live import Live
from catalog.mark.roots import find_roots
from catalog.mark.run import mark
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from tests.kit.random_trees import Block, RandomTrees, referred
from tests.kit.vaults import new_vault

Spans = dict[tuple[int, bytes], list[tuple[int, int]]]


def spans(live: Live) -> Spans:
    return {(kind, pack): some for kind in (PackKind.DATA, PackKind.TREE) for pack, some in live.spans(kind)}


def joined(blocks: Iterable[Block]) -> Spans:
    """The spans of blocks, byte by byte."""
    found: Spans = {}
    for kind, pack, offset, stored in sorted(blocks):
        rows = found.setdefault((kind, pack), [])
        if rows and offset <= rows[-1][1]:
            rows[-1] = rows[-1][0], max(rows[-1][1], offset + stored)
        else:
            rows.append((offset, offset + stored))
    return found


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_marks_what_a_plain_walk_finds(seed: int, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if small:  # nothing is kept, and blocks are in several ranges
        monkeypatch.setattr("catalog.mark.source.RANGE", 1000)
        monkeypatch.setattr("catalog.mark.source.KEPT", 3000)
        monkeypatch.setattr("catalog.mark.source.BLOCKS", 1)
    vault = new_vault(MemoryStore())
    trees = RandomTrees(vault, seed)
    points: list[Point] = [trees.point() for _ in range(8)]
    marked = mark(vault, find_roots(vault))
    assert not marked.faults and not marked.is_blind
    assert spans(marked.live) == joined(referred(vault, points))
    kept = points[::3]
    rest = mark(vault, find_roots(vault, gone=lambda name: name.id not in {p.id for p in kept}))
    assert spans(rest.live) == joined(referred(vault, kept))


def test_each_small_tree_pack_is_read_once() -> None:
    memory = MemoryStore()
    meter = MeteredStore(memory)
    vault = new_vault(meter)
    trees = RandomTrees(vault, 1)
    for _ in range(25):
        trees.point()
    roots, before = find_roots(vault), meter.snapshot()
    with mark(vault, roots, places=[]) as marked:
        assert marked.pages and not marked.faults
    spent = meter.snapshot() - before
    packs = [name for name in memory.objects if name.startswith("meta/")]
    # Beside them, the machine's record is listed and read.
    assert (spent.read.requests, spent.requests) == (len(packs), len(packs) + 2)
