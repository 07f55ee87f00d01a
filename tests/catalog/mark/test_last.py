"""The next mark reads only what is new; what it begins with may be lost, and is not believed if it was changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.format.blocks import PackKind
from catalog.mark.last import WEEK, Last, LastMark, mark_on
from catalog.mark.roots import Roots, find_roots
from catalog.mark.run import Marked, mark
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from tests.catalog.mark.test_mark import joined, spans
from tests.kit.random_trees import RandomTrees, referred
from tests.kit.vaultmaker import MACHINE
from tests.kit.vaults import new_vault

BEGAN = 1_790_000_000 * 10**9


class World:
    """A vault with points of a random tree, and the file of the last mark."""

    def __init__(self, state: Path) -> None:
        self.memory = MemoryStore()
        self.meter = MeteredStore(self.memory)
        self.vault = new_vault(self.meter)
        self.trees = RandomTrees(self.vault, 3, target=1 << 20)
        for _ in range(5):
            self.trees.point()
        self.kept = LastMark(state, self.vault, [MACHINE])
        self.reads = 0

    def mark(self, began: int = BEGAN, *, gone: int = 0) -> tuple[Marked, Roots]:
        """Mark all points but the first ones that are gone, as upkeep does, and keep it."""
        without = {p.id for p in self.trees.points[:gone]}
        roots = find_roots(self.vault, [MACHINE], lambda name: name.id in without)
        before = self.meter.snapshot().read.requests
        marked = mark_on(self.kept, self.vault, roots, began, places=[])
        self.reads = self.meter.snapshot().read.requests - before
        return marked, roots

    def last(self) -> Last:
        last = self.kept.load()
        assert last is not None
        return last


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_mark_with_nothing_new_reads_nothing(world: World) -> None:
    first, _roots = world.mark()
    assert world.reads > 0
    again, _roots = world.mark()
    assert world.reads == 0 and again.pages == 0
    assert spans(again.live) == spans(first.live) == joined(referred(world.vault, world.trees.points))


def test_one_new_point_costs_the_reads_of_its_own_pages(world: World) -> None:
    world.mark()
    for _ in range(4):
        world.trees.point()
        marked, _roots = world.mark()
        assert 1 <= world.reads <= 3
        assert spans(marked.live) == joined(referred(world.vault, world.trees.points))


def test_what_only_points_that_went_refer_to_stays_live_until_a_full_mark(world: World) -> None:
    world.mark()
    marked, _roots = world.mark(gone=2)
    assert world.reads == 0
    assert spans(marked.live) == joined(referred(world.vault, world.trees.points))
    last = world.last()
    assert last.full == BEGAN and last.points == {p.id for p in world.trees.points[2:]}
    _marked, roots = world.mark(BEGAN + 1, gone=3)
    assert world.last().gone(roots) == 3 and world.last().is_stale(roots, BEGAN + WEEK)
    _marked, roots = world.mark(BEGAN + WEEK, gone=3)
    assert world.reads > 0 and world.last().gone(roots) == 0


def test_a_full_mark_is_due_a_week_after_the_last_if_points_went(world: World) -> None:
    _marked, roots = world.mark()
    last, fewer = world.last(), roots._replace(roots=roots.roots[1:])
    assert not last.is_stale(roots, BEGAN + 5 * WEEK)
    assert last.gone(fewer) == 1
    assert last.is_stale(fewer, BEGAN + WEEK) and not last.is_stale(fewer, BEGAN + WEEK - 1)
    marked, _roots = world.mark(BEGAN + WEEK, gone=1)
    assert world.reads > 0 and world.last().full == BEGAN + WEEK
    assert spans(marked.live) == joined(referred(world.vault, world.trees.points[1:]))


def test_what_could_not_be_read_is_looked_at_again(world: World) -> None:
    world.trees.point()
    newest = world.trees.points[-1]
    assert newest.root is not None
    at = newest.root.subtree().at
    name = next(n for n in world.memory.objects if n.endswith(at.pack.hex()))
    good = world.memory.objects[name]
    world.memory.objects[name] = good[: at.offset] + bytes(at.stored) + good[at.offset + at.stored :]
    marked, _roots = world.mark()
    assert marked.is_blind and marked.damaged
    marked, _roots = world.mark()
    assert marked.is_blind
    world.memory.objects[name] = good
    marked, _roots = world.mark()
    assert not marked.is_blind
    assert spans(marked.live) == joined(referred(world.vault, world.trees.points))


@pytest.mark.parametrize("at", [0, 9, 40, 300, -40, -1])
def test_a_file_that_was_changed_or_cut_counts_as_lost(world: World, at: int) -> None:
    world.mark()
    good = world.kept.path.read_bytes()
    for bad in (good[:at] + bytes([good[at] ^ 1]) + good[at:][1:], good[: len(good) // 2], b"", good + b"\0"):
        world.kept.path.write_bytes(bad)
        assert world.kept.load() is None
    world.mark()
    assert world.reads > 0 and world.kept.path.read_bytes() != b""


def test_the_file_of_another_vault_or_machine_is_not_used(world: World, tmp_path: Path) -> None:
    world.mark()
    data = world.kept.path.read_bytes()
    others = (LastMark(tmp_path, world.vault, [b"x" * 16]), LastMark(tmp_path, new_vault(MemoryStore()), [MACHINE]))
    for other in others:
        other.path.write_bytes(data)
        assert other.load() is None


def test_a_folder_that_can_not_be_written_only_costs_the_cache(world: World, tmp_path: Path) -> None:
    kept = LastMark(tmp_path / "file" / "below", world.vault, [MACHINE])
    (tmp_path / "file").write_bytes(b"")
    marked = mark(world.vault, roots := find_roots(world.vault), places=[])
    kept.save(marked, roots, BEGAN)
    assert kept.load() is None and marked.live.bytes_of(PackKind.DATA)


def test_nobody_else_can_read_the_file(world: World) -> None:
    world.mark()
    assert world.kept.path.stat().st_mode & 0o777 == 0o600
    assert world.kept.path.parent.stat().st_mode & 0o777 == 0o700
