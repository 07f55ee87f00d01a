"""A page of a folder that can't be read costs the names on it, also where the folder is restored in parts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cache.reader import Reader
from catalog.direct import DirectSource
from catalog.errors import Damaged
from catalog.format.packs import Extent
from catalog.format.records import Point
from catalog.store.memory import MemoryStore
from catalog.tree import leaves
from catalog.vault import Vault
from mount.fleet.restoring.spans import Limits
from mount.restore.report import PAGE_LOST, Report
from tests.kit.drives import Maker, add_point
from tests.kit.restoring import restore
from tests.kit.together import together
from tests.kit.vaultmaker import open_empty

Lose = Callable[..., set[bytes]]


class Made(NamedTuple):
    vault: Vault
    point: Point
    pages: list[tuple[Extent, list[bytes]]]  # of the folder "many": where each is, and the names on it


@pytest.fixture(scope="module")
def made() -> Made:
    """A folder of some pages, with folders and files on each."""
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    nodes = []
    for n in range(400):
        name = b"%04d %s" % (n, b"name" * 60)
        if n % 50:
            nodes.append(maker.node(name, size=0, content=[]))
        else:
            nodes.append(maker.folder(name, [maker.node(b"in it", content=[])]))
    root = maker.root([maker.folder(b"many", nodes), maker.node(b"other", content=[])])
    maker.trees.finish()
    point = add_point(vault, root, 1)
    source = DirectSource(vault)
    (page,) = leaves(source, root, 1)
    below = page.leaf.subtree(page.leaf.entries[0])
    assert below is not None and below.level == 1
    index = source.folder_index(below.at)
    found = [(index.at(child), [e.name for e in source.leaf(index.at(child)).entries]) for child in index.children]
    assert len(found) >= 5
    return Made(vault, point, [(below.at, []), *found])


@pytest.fixture
def lose(made: Made, monkeypatch: pytest.MonkeyPatch) -> Lose:
    """Damages pages of the folder by their numbers (0: the one that leads to all); returns the names on them."""

    def losing(*numbers: int) -> set[bytes]:
        gone = {made.pages[n][0] for n in numbers}
        page = Reader._page

        def damaged(self: Reader, at: Extent, decode: Any) -> Any:
            if at in gone:
                raise Damaged("a block differs")
            return page(self, at, decode)

        monkeypatch.setattr(Reader, "_page", damaged)
        every = range(1, len(made.pages)) if 0 in numbers else numbers
        return {name for n in every for name in made.pages[n][1]}

    return losing


def names(to: Path) -> set[bytes]:
    return set(os.listdir(os.fsencode(to / "many")))


def assert_told(report: Report) -> None:
    assert [(p.path, p.reason) for p in report.problems] == [(b"many", f"{PAGE_LOST}: a block differs")]
    assert (report.lost, report.damaged) == (1, 1)


@pytest.mark.parametrize("numbers", [(1,), (2, 4, -1), (0,)])
@pytest.mark.parametrize("parts", [False, True])
def test_only_its_names_are_missing(
    made: Made, lose: Lose, tmp_path: Path, numbers: tuple[int, ...], parts: bool
) -> None:
    every = {name for _at, on_it in made.pages for name in on_it}
    lost = lose(*numbers)
    to = tmp_path / "to"
    report: Report
    if parts:
        report = together(made.vault, made.point, to, limits=Limits(90, 1 << 30))
    else:
        report = restore(made.vault, made.point, to)
    assert_told(report)
    assert names(to) == every - lost and (to / "other").exists()
    assert all(os.listdir(to / "many" / os.fsdecode(n)) == ["in it"] for n in names(to) if int(n[:4]) % 50 == 0)
