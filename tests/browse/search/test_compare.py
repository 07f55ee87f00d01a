"""Two points compared: the changes of `rpdrive diff`, a page at a time, and none that only damage shows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.direct import DirectSource
from catalog.errors import Damaged, NotFound, StoreUnreachable
from catalog.format.packs import Extent
from catalog.format.pages import Leaf
from catalog.history.difference import difference, root_of
from catalog.history.overlay import follow, root_strands
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from mount.browse.resources import compare
from mount.browse.resources.compare import ChangeRow, Comparison
from mount.browse.resources.opened import Opened
from mount.browse.resources.wire import path64
from tests.browse.search.many import GateStore, ManyPoints
from tests.browse.search.test_searches import until
from tests.catalog.test_history import build
from tests.kit.browsing import opened_as, page_of
from tests.kit.drives import add_machine
from tests.kit.vaults import new_vault


@pytest.fixture
def gate() -> GateStore:
    return GateStore(MemoryStore())


@pytest.fixture
def many(gate: GateStore) -> ManyPoints:
    """Three points of 40 folders, of which ten are written anew each time."""
    found = ManyPoints(new_vault(gate), folders=40, each=20)
    for n in range(3):
        found.commit(10 if n else 0)
    return found


@pytest.fixture
def opened(tmp_path: Path, many: ManyPoints, gate: GateStore) -> Iterator[Opened]:
    found = opened_as(tmp_path, many.vault)
    yield found
    gate.open.set()
    found.close()


def every(opened: Opened, before: str, after: str, path: bytes = b"/", count: int = 500) -> list[ChangeRow]:
    """All changes, a page at a time."""
    rows: list[ChangeRow] = []
    while True:
        page = compare.compare(opened, before, after, path, len(rows), count)
        rows += page.changes
        if page.next is None:
            assert page.state == "done" and page.counts is not None and page.total == page.kept == len(rows)
            return rows
        assert page.next == str(len(rows))


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_diff(tmp_path: Path, seed: int) -> None:
    vault = new_vault(MemoryStore())
    add_machine(vault)
    model = build(vault, seed)
    opened = opened_as(tmp_path, vault)
    rng = random.Random(seed)
    for _ in range(8):
        a, b = rng.sample(model.points, 2)
        path = rng.choice([b"", *model.every_path()])
        expected = list(difference(DirectSource(vault), root_of(a), root_of(b), path))
        try:
            rows = every(opened, a.id.hex(), b.id.hex(), path or b"/", count=rng.choice((1, 7, 500)))
        except NotFound:
            assert not any(path in model.states[model.points.index(point)] for point in (a, b))
            continue
        assert [(row.path64, row.mark, row.what) for row in rows] == [
            (path64(change.path), change.mark, list(change.what)) for change in expected
        ]
    opened.close()


def test_counts_and_a_page_at_a_time(opened: Opened, many: ManyPoints) -> None:
    a, b = (point.id.hex() for point in many.points[1:])
    rows = every(opened, a, b, count=30)
    files = [row for row in rows if row.kind == "file"]
    assert len(files) == 200 and all(row.mark == "M" and row.before == row.size for row in files)
    whole = compare.compare(opened, a, b, b"/", 0, 500)
    assert whole.counts is not None and whole.counts.changed == 200 and whole.counts.metadata == 10
    assert compare.compare(opened, a, b, b"/", 10_000, 500).changes == []
    assert every(opened, a, a) == []
    folder = next(row.path64 for row in rows if row.kind == "folder")
    with page_of(opened) as page:
        answer = page.get("/compare", before=a, after=b, at=folder, count=5)
        assert len(answer["changes"]) == 5 and answer["next"] == "5"
        assert set(answer["changes"][0]) == {"path", "path64", "mark", "kind", "size", "what"}


def test_neither_point_has_the_path(opened: Opened, many: ManyPoints) -> None:
    a, b = (point.id.hex() for point in many.points[1:])
    for _ in range(2):
        with pytest.raises(NotFound):
            compare.compare(opened, a, b, b"/nowhere")


def test_what_is_kept_is_bounded(opened: Opened, many: ManyPoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "MOST", 30)
    a, b = (point.id.hex() for point in many.points[1:])
    page = _ended(opened, a, b)
    assert page.kept == len(page.changes) == 30 and page.total == 210 and page.next is None
    assert page.counts is not None and page.counts.changed == 200
    monkeypatch.setattr(compare, "KEPT", 2)
    for at in range(5):
        _ended(opened, a, b, b"/folder-0000%d" % at)
    assert len(compare._all[opened]._kept) == 2


def _ended(opened: Opened, a: str, b: str, path: bytes = b"/") -> Comparison:
    until(lambda: compare.compare(opened, a, b, path, 0, 500).state == "done")
    return compare.compare(opened, a, b, path, 0, 500)


def test_a_store_that_fails_is_asked_again(opened: Opened, many: ManyPoints, gate: GateStore) -> None:
    a, b = (point.id.hex() for point in many.points[1:])
    gate.free, gate.fault = 0, StoreUnreachable("no answer")
    with pytest.raises(StoreUnreachable):
        compare.compare(opened, a, b, b"/")
    gate.free = 1 << 30
    assert len(every(opened, a, b)) == 210


def test_an_answer_does_not_wait_for_a_slow_store(
    opened: Opened, many: ManyPoints, gate: GateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "PATIENCE", 0.05)
    ids = [point.id.hex() for point in many.points]
    gate.free = 0
    gate.open.clear()
    page = compare.compare(opened, ids[0], ids[1], b"/")
    assert page.state == "running" and page.changes == [] and page.next == "0" and page.counts is None
    for pair in ((ids[1], ids[2]), (ids[0], ids[2])):
        compare.compare(opened, *pair, b"/")
    works = list(compare._all[opened]._kept.values())
    assert [work.ending for work in works] == [True, False, False]  # two at a time
    gate.open.set()
    for a, b in ((ids[0], ids[1]), (ids[1], ids[2]), (ids[0], ids[2])):
        assert _ended(opened, a, b).total >= 210


class Lacking(DirectSource):
    """A source that can't read one page."""

    def __init__(self, vault: Vault, lacks: Extent) -> None:
        super().__init__(vault)
        self._lacks = lacks

    def leaf(self, at: Extent) -> Leaf:
        if at.id == self._lacks.id:
            raise Damaged("this page is damaged")
        return super().leaf(at)


@pytest.mark.parametrize("older", [True, False])
def test_damage_makes_nothing_seem_new_or_gone(
    opened: Opened, many: ManyPoints, monkeypatch: pytest.MonkeyPatch, older: bool
) -> None:
    before, after = many.points[1:]
    a, b = before.id.hex(), after.id.hex()
    rows = every(opened, a, b)
    folder = next(row.path for row in rows if row.kind == "folder")
    damaged = follow(DirectSource(many.vault), root_strands([before if older else after]), folder.encode()).strands[
        0
    ]
    compare._all.pop(opened)
    monkeypatch.setattr(opened, "direct", lambda: Lacking(many.vault, damaged.folder.at))
    left = every(opened, a, b)
    assert [row.path for row in left] == [row.path for row in rows if not row.path.startswith(folder + "/")]
    (problem,) = compare.compare(opened, a, b, b"/").problems
    assert problem.startswith(f"a part of {folder} in the {'older' if older else 'newer'} point can't be read")
