"""Memory of what merges many points: it grows with what differs, not with the pages that are read."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

import pytest

from cache.reader import Reader
from catalog.direct import DirectSource
from catalog.format.records import Point
from catalog.history.search import pattern, search
from catalog.history.versions import versions
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from mount.view.all_points import AllPointsView
from mount.view.nodes import Folder, Node
from tests.kit.drives import add_machine, add_point
from tests.kit.vaultmaker import SmallFiles
from tests.kit.vaults import new_vault

SECOND = 10**9
START = 1_790_000_000 * SECOND
FEW, MANY = 20, 120  # points
MIB = 1 << 20


def points_of_200_files(count: int) -> tuple[Vault, list[Point]]:
    """Points of a folder of 200 files, of which one is edited each time: two pages that differ."""
    vault = new_vault(MemoryStore())
    add_machine(vault)
    small = SmallFiles(vault, folders=1, each=200, largest=1 << 10)
    points = []
    for n in range(count):
        if n:
            small.edit(1)
        points.append(add_point(vault, small.root, n + 1, START + n * 3600 * SECOND))
    return vault, points


def traced(work: Callable[[], object]) -> tuple[int, int]:
    """The bytes of Python's objects that stay while a result is kept, and the most there were."""
    gc.collect()
    tracemalloc.start()
    try:
        result = work()
        del result
        gc.collect()
        return tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of trees are not kept, so that what is measured is the rest."""
    monkeypatch.setattr("catalog.direct.KEPT", 0)


@pytest.mark.usefixtures("no_cache")
def test_find_and_versions_keep_what_differs_of_each_point() -> None:
    found, shown = [], []
    for count in (FEW, MANY):
        vault, points = points_of_200_files(count)
        found.append(traced(lambda: sum(1 for _ in search(DirectSource(vault), points, pattern("*"))))[1])  # noqa: B023
        path = b"folder-000/file-007.txt"
        shown.append(traced(lambda: versions(DirectSource(vault), points, path))[1])  # noqa: B023
    # Two decoded pages of a point are 150 KB.
    assert found[1] - found[0] < (MANY - FEW) * 20_000, found
    assert shown[1] - shown[0] < (MANY - FEW) * 20_000, shown


def walk(folder: Node) -> int:
    """Look at everything below, as `find` does; the number of nodes."""
    assert isinstance(folder, Folder)
    count = 0
    for page in folder.pages():
        for n, name in enumerate(page.names):
            node = page.node(n)
            folder.lookup(name)
            count += 1 + (walk(node) if isinstance(node, Folder) else 0)
    return count


def test_a_walk_through_versions_lets_go_what_it_passed() -> None:
    kept, most = [], []
    for count in (FEW, MANY):
        vault, _points = points_of_200_files(count)
        reader = Reader(vault, memory=MIB, page_memory=MIB)
        view = AllPointsView(vault, reader)
        box = view.root.lookup(b"box")
        assert isinstance(box, Folder)
        home = box.lookup(b"home")
        assert isinstance(home, Folder)
        stays, peak = traced(lambda: walk(home.lookup(b".versions")))  # noqa: B023
        kept.append(stays)
        most.append(peak)
        reader.close()
    assert kept[1] - kept[0] < (MANY - FEW) * 25_000, kept
    assert most[1] - most[0] < (MANY - FEW) * 40_000, most
