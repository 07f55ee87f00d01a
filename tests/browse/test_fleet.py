"""The page of 2,000 machines with 10,000 points each: each screen costs what it shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catalog.errors import NotFound, UsageError
from catalog.store.metered import Traffic
from mount.browse.resources.calendar import calendar
from mount.browse.resources.opened import Opened
from mount.browse.resources.points import machines, point, points
from mount.browse.resources.scanning import RECORDS
from mount.browse.resources.searches import SearchPage, Wanted, searches
from mount.browse.resources.versions import NEWEST, versions
from mount.view.all_points import AllPointsView
from tests.kit.browsing import opened_as
from tests.kit.drives import Maker
from tests.kit.made.fleet import Fleet
from tests.kit.made.shape import item_id, machine_id

MACHINES, POINTS = 2000, 10_000


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return Fleet(MACHINES, POINTS)


@pytest.fixture
def page(fleet: Fleet, tmp_path: Path) -> Iterator[Opened]:
    opened = opened_as(tmp_path, fleet.opened())
    opened._view = AllPointsView(opened.vault, opened.reader, forgotten=True, fresh=1e6)
    yield opened
    opened.close()


def costs(fleet: Fleet, screen: Callable[[], object]) -> tuple[int, int]:
    """The listings and records that a screen asks for; nothing else is asked for."""
    before: Traffic = fleet.meter.snapshot()
    screen()
    spent = fleet.spent(before)
    assert spent.requests == spent.list.requests + spent.get.requests
    return spent.list.requests, spent.get.requests


def test_screens_of_twenty_million_points_cost_what_they_show(
    fleet: Fleet, page: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = (machine_id(7).hex(), item_id(7).hex())
    assert costs(fleet, lambda: machines(page)) == (4, MACHINES)  # records of items; those of machines were read
    rows = machines(page).machines
    assert [(row.name, [i.name for i in row.items]) for row in rows[:2]] == [
        ("machine-00000", ["root"]), ("machine-00001", ["root"]),
    ]  # fmt: skip
    year = calendar(page, 2025, *one)
    assert sum(day.points for day in year.days) > 4000
    before = fleet.meter.snapshot()
    assert calendar(page, 2025, machine_id(8).hex(), item_id(8).hex()).days == year.days
    assert fleet.spent(before).list.requests == fleet.spent(before).requests == 3  # two pages of names; ledgers
    assert costs(fleet, lambda: points(page, *one, since="2026-01-01", until="2026-01-02")) == (0, 0)
    newest = points(page, *one, count=40).points
    assert len(newest) == 40 and newest[0].id == fleet.point(7, POINTS - 1).id.hex()
    monkeypatch.setattr("mount.browse.resources.points.FRESH_SECONDS", 1e6)
    # its record; the machine's record and those of checks, which are listed anew
    assert costs(fleet, lambda: point(page, newest[0].id)) == (2, 1)
    assert costs(fleet, lambda: [point(page, row.id) for row in newest[1:]]) == (0, 39)
    for screen in (lambda: calendar(page, 2025), lambda: points(page), lambda: points(page, since="2026-01-01")):
        with pytest.raises(UsageError, match="2,000 machines have too many"):
            screen()
    assert len(page._names) <= 2 * POINTS


def test_a_point_that_was_not_listed_is_looked_for_and_no_other_is_kept(
    page: Opened, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [fleet.point(min(range(MACHINES), key=machine_id), p) for p in (17, 18)]
    before = fleet.meter.snapshot()
    assert page.name(wanted[0].id.hex()) == wanted[0] and list(page._names.values()) == wanted[:1]
    spent = fleet.spent(before)
    assert (
        spent.requests == spent.list.requests < 200
    )  # of 4,000: a few machines at once, up to the one that has it
    # This machine is looked at first: the machines, its names up to that one, and the ledger.
    monkeypatch.setattr("mount.browse.resources.opened.id_here", lambda *_: wanted[1].machine)
    assert costs(fleet, lambda: page.name(wanted[1].id.hex())) == (3, 0)
    assert list(page._names.values()) == wanted


def test_a_point_that_is_nowhere(tmp_path: Path) -> None:
    opened = opened_as(tmp_path, Fleet(3, 10).opened())
    with pytest.raises(NotFound):
        opened.name("0" * 32)
    opened.close()


def test_versions_of_ten_thousand_points(tmp_path: Path) -> None:
    fleet = Fleet(1, POINTS)
    maker = Maker(fleet.vault)
    fleet.store.give_trees([maker.root([maker.file(b"a.txt", b"%d" % n)]) for n in range(4)], 2500)
    opened = opened_as(tmp_path, fleet.opened())
    one = (machine_id(0).hex(), item_id(0).hex(), b"/a.txt")
    opened.listing(machine_id(0))
    before = fleet.meter.snapshot()
    found = versions(opened, *one)
    assert (found.points_total, found.older, len(found.rows)) == (POINTS, POINTS - NEWEST, 1)
    spent = fleet.spent(before)
    assert (spent.get.requests, spent.read.requests) == (NEWEST, 1)  # a block of the tree for each state of it
    before = fleet.meter.snapshot()
    found = versions(opened, *one, POINTS)
    assert (found.older, [row.points for row in found.rows]) == (0, [2500] * 4)
    spent = fleet.spent(before)
    assert (spent.get.requests, spent.read.requests) == (POINTS - NEWEST, 3)
    opened.close()


def ended(opened: Opened, search: str) -> SearchPage:
    while (found := searches(opened).page(search)).state == "running":
        time.sleep(0.01)
    return found


def test_a_search_in_all_machines_keeps_the_names_of_one(tmp_path: Path) -> None:
    fleet = Fleet(40, 300)
    maker = Maker(fleet.vault)
    roots = [maker.root([maker.file(name, b"1")]) for name in (b"old.txt", b"new.txt")]
    fleet.store.give_trees(roots, 150)
    opened = opened_as(tmp_path, fleet.opened())
    opened._view = AllPointsView(opened.vault, opened.reader, forgotten=True, fresh=1e6)
    found = ended(opened, searches(opened).start(Wanted(text="*.txt")))
    assert (found.state, found.total, found.progress.points_total) == ("done", 80, 40 * 300)
    assert {(hit.path, hit.points) for hit in found.hits} == {("/new.txt", 150), ("/old.txt", 150)}
    assert [hit.path for hit in found.hits[:40]] == ["/new.txt"] * 40  # the newest points of all come first
    assert found.progress.fraction == 1.0
    opened.close()


def test_a_search_is_cancelled_while_records_are_read(tmp_path: Path) -> None:
    fleet = Fleet(1, 4 * RECORDS)
    maker = Maker(fleet.vault)
    fleet.store.give_trees([maker.root([maker.file(b"a.txt", b"1")])])
    opened = opened_as(tmp_path, fleet.opened())
    opened.listing(machine_id(0))
    started = list[str]()
    get = fleet.store.get

    def slow(name: str, most: int) -> bytes:
        if fleet.meter.snapshot().get.requests > 300 and started:
            searches(opened).cancel(started[0])
        return get(name, most)

    fleet.store.get = slow  # type: ignore[method-assign]
    before = fleet.meter.snapshot()
    started.append(searches(opened).start(Wanted(text="*.txt", machine=machine_id(0).hex())))
    found = ended(opened, started[0])
    assert found.state == "cancelled" and [hit.path for hit in found.hits] == ["/a.txt"]
    while searches(opened)._left:
        time.sleep(0.01)
    assert fleet.spent(before).get.requests <= 1 + 2 * RECORDS
    opened.close()
