"""Folders of recovery points: windows, the same path in another point, and what it costs."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.errors import NotFound
from mount.browse.resources.calendar import calendar
from mount.browse.resources.folders import Choice, FolderPage, folder, rank
from mount.browse.resources.opened import Opened
from mount.browse.resources.points import machines
from mount.browse.resources.wire import path64
from tests.browse.find.vaults import ODD, Made, made, opened
from tests.kit.drives import MACHINE

DEEP = b"/a/b/c/d/e/many"
PLAIN = Choice()


@pytest.fixture(scope="module")
def vault() -> Made:
    return made()


@pytest.fixture(scope="module")
def page(vault: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    with opened(vault, tmp_path_factory.mktemp("home")) as found:
        yield found


def whole(
    page: Opened, point: str, at: bytes | int, choice: Choice = PLAIN, start: int = 0, count: int = 200
) -> FolderPage:
    while (found := folder(page, point, at, choice, start, count)).state != "whole":
        pass
    return found


def names(found: FolderPage) -> list[str]:
    return [row.name for row in found.rows]


def test_any_window_of_a_folder(page: Opened, vault: Made) -> None:
    found = whole(page, vault.points[0], DEEP, start=990, count=500)
    assert (found.total, found.shown, found.natural, found.path) == (1000, 1000, True, DEEP.decode())
    assert names(found) == [f"{n:05d}" for n in range(990, 1000)]
    assert [above.name for above in found.above] == ["/", "a", "b", "c", "d", "e"]
    assert found.above[-1].path64 == path64(b"/a/b/c/d/e")
    down = whole(page, vault.points[0], DEEP, Choice(order="name", desc=True, filter="9?5"), 0, 3)
    assert (names(down), down.shown, down.total) == ([], 0, 1000)  # a glob is about the whole name
    down = whole(page, vault.points[0], DEEP, Choice(order="name", desc=True, filter="*9?5"), 0, 3)
    assert (names(down), down.shown) == (["00995", "00985", "00975"], 10)
    assert whole(page, vault.points[0], DEEP, start=5000).rows == []
    assert rank(page, vault.points[0], DEEP, PLAIN, "0042").start == 420
    assert whole(page, vault.points[0], found.n).path == found.path


def test_rows_lead_on_by_their_numbers(page: Opened, vault: Made) -> None:
    top = whole(page, vault.points[0], b"/")
    assert names(top) == ["a", "kinds", "odd", "texts", "turned"]
    assert (top.path64, top.above, top.n) == ("Lw", [], 1)
    for row in top.rows:
        assert whole(page, vault.points[0], row.n).path == "/" + row.name
        assert row.kind == "folder"
    assert [row.files for row in top.rows] == [1000, 1, len(ODD), 6, 1]


def test_names_of_every_kind(page: Opened, vault: Made) -> None:
    found = whole(page, vault.points[0], b"/odd")
    given = {base64.b64decode(row.name_bytes) if row.name_bytes else row.name.encode() for row in found.rows}
    assert given == set(ODD)
    assert [row.name_bytes is None for row in found.rows].count(False) == 1


def test_entries_of_every_kind(page: Opened, vault: Made) -> None:
    rows = {row.name: row for row in whole(page, vault.points[0], b"/kinds").rows}
    assert {name: row.kind for name, row in rows.items()} == {
        "disk": "block_device", "empty": "folder", "link": "symlink", "pipe": "fifo", "rights": "file",
        "unknown": "malformed",
    }  # fmt: skip
    assert rows["link"].target == "../texts"
    assert rows["rights"].time is not None  # the first second of 1970
    assert rows["rights"].time.startswith(("1970-01-01", "1969-12-31"))
    empty = whole(page, vault.points[0], b"/kinds/empty")
    assert (empty.rows, empty.total, empty.problems, empty.missing) == ([], 0, [], False)


def test_the_path_of_a_file_shows_its_folder(page: Opened, vault: Made) -> None:
    for at in (DEEP + b"/00500", b"/kinds/link", b"/kinds/unknown"):
        found = whole(page, vault.points[0], at, count=500)
        assert found.path.encode() == at.rpartition(b"/")[0]
        assert found.selected_at is not None
        shown = whole(page, vault.points[0], at, start=found.selected_at, count=1)
        assert [(row.n, row.name.encode()) for row in shown.rows] == [(found.selected, at.rpartition(b"/")[2])]
    filtered = whole(page, vault.points[0], DEEP + b"/00500", Choice(filter="0001"))
    assert filtered.selected_at is None


def test_the_same_path_in_other_points(page: Opened, vault: Made) -> None:
    first, second, third = vault.points
    found = whole(page, second, DEEP)
    assert (found.previous, found.next, found.missing) == (first, third, False)
    assert whole(page, first, DEEP).previous is None
    gone = whole(page, second, b"/turned/inside")  # a folder that became a file
    assert (gone.missing, gone.nearest, gone.path, gone.rows) == (True, path64(b"/"), "/turned/inside", [])
    gone = whole(page, first, b"/a/b/x/y")
    assert (gone.missing, gone.nearest) == (True, path64(b"/a/b"))
    assert [above.name for above in gone.above] == ["/", "a", "b", "x"]
    assert gone.next == second
    through = whole(page, first, b"/kinds/link/lines.txt")  # a symlink is not followed
    assert (through.missing, through.nearest) == (True, path64(b"/kinds"))
    empty = whole(page, third, b"/")
    assert (empty.rows, empty.total, empty.missing) == ([], 0, False)
    deep = whole(page, first, b"/x" * 20_000)
    assert (deep.nearest, len(deep.above)) == (path64(b"/"), 101)


def test_what_is_not_there(page: Opened, vault: Made) -> None:
    for point, at in ((bytes(16).hex(), b"/"), ("xyz", b"/"), (vault.points[0], 10**6), (vault.points[0], 0)):
        with pytest.raises(NotFound):
            folder(page, point, at, PLAIN)
    with pytest.raises(NotFound):
        rank(page, vault.points[0], b"/kinds/rights", PLAIN, "x")


def test_the_root_leads_to_what_was_saved(page: Opened, vault: Made) -> None:
    """Folders with one folder each are passed over, if that is asked for."""
    point = vault.points[1]
    assert folder(page, point, b"/", PLAIN).path == "/"
    down = folder(page, point, b"/a", PLAIN, descend=True)
    assert (down.path, [row.name for row in down.rows[:1]]) == ("/a/b/c/d/e/many", ["00000"])
    assert [one.name for one in down.above] == ["/", "a", "b", "c", "d", "e"]
    assert folder(page, point, b"/", PLAIN, descend=True).path == "/"  # of several folders, none is chosen
    assert folder(page, point, b"/a/b/c/d/e/many/00007", PLAIN, descend=True).path == "/a/b/c/d/e/many"
    assert folder(page, vault.points[2], b"/", PLAIN, descend=True).total == 0


def test_what_it_costs(vault: Made, tmp_path: Path) -> None:
    """From a page that has just begun: machines, a calendar, a folder five down, and the same of the next point."""
    meter = vault.remote.meter
    with opened(vault, tmp_path) as page:
        machines(page)
        page.view  # noqa: B018 - made when it is first used
        before = meter.snapshot()
        calendar(page, 2026, MACHINE.hex())
        spent = vault.remote.spent(before)
        assert (spent.requests, spent.list.requests) == (2, 2)
        before = meter.snapshot()
        found = whole(page, vault.points[1], DEEP)
        spent = vault.remote.spent(before)
        assert found.total == 1000
        assert spent.requests == 3  # its record, and two blocks of its tree
        before = meter.snapshot()
        whole(page, vault.points[0], DEEP, Choice(order="size"))
        assert vault.remote.spent(before).requests == 1  # its record: the same folder is not read again
        before = meter.snapshot()
        for order in ("name", "time", "kind"):
            whole(page, vault.points[0], DEEP, Choice(order=order, desc=True, filter="1"), 3)
        whole(page, vault.points[1], DEEP)
        assert vault.remote.spent(before).requests == 0
