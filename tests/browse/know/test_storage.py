"""What was added to the vault, by day, item and machine; the chart; how many requests, and what is partial."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from mount.browse.resources import storage as storage_module
from mount.browse.resources.charts import chart
from mount.browse.resources.opened import Opened
from mount.browse.resources.storage import StoragePage, numbers_of, storage
from tests.browse.know.worlds import DAY, PATIENCE, START, World

MIB = 1 << 20


def read_all(opened: Opened, **how: object) -> StoragePage:
    found = storage(opened, wait=PATIENCE, **how)  # type: ignore[arg-type]
    assert not found.reading
    return found


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    world = World(tmp_path_factory.mktemp("storage"))
    first, second = world.add("srv01"), world.add("<b>&\x00")
    world.now -= 100 * DAY
    world.job(first, "srv01", stored_bytes=7 * MIB)  # before the window
    world.now = START
    for day in range(10):
        world.now = START - (10 - day) * DAY
        world.job(first, "srv01", stored_bytes=MIB, new_bytes=2 * MIB, files=10, point=world.id())
        world.job(second, "<b>&\x00", stored_bytes=day * MIB, new_bytes=day * MIB, outcome="failed")
    world.job(first, "srv01", kind="prune", item=None, bytes=500 * MIB, freed_bytes=3 * MIB, stored_bytes=MIB)
    world.now = START
    world.job(first, "srv01", kind="check", item=None)
    return world.opened()


def test_by_day(opened: Opened) -> None:
    page = read_all(opened, days=30)
    assert len(page.rows) == 30 and page.rows == sorted(page.rows, key=lambda row: row.date or "")
    assert (page.total_stored, page.total_new) == (55 * MIB, 65 * MIB)
    assert [row.stored // MIB for row in page.rows[-11:]] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0]
    assert (page.rows[-2].points, page.rows[-2].files, page.rows[-2].freed) == (1, 10, 3 * MIB)
    assert (page.read, page.total, page.partial) == (22, 22, "")
    assert (page.vault.held, page.vault.held_since) == (500 * MIB, page.rows[-2].date)
    assert read_all(opened, days=200).total_stored == 62 * MIB


def test_by_item_and_machine(opened: Opened) -> None:
    items, machines = read_all(opened, by="item", days=30), read_all(opened, by="machine", days=30)
    assert [(row.label, row.stored // MIB) for row in items.rows] == [
        ("home of <b>&\x00", 45),
        ("home of srv01", 10),
    ]
    assert [(row.label, row.stored // MIB, row.freed // MIB) for row in machines.rows] == [
        ("<b>&\x00", 45, 0), ("srv01", 10, 3),
    ]  # fmt: skip


@pytest.mark.parametrize("width", [320, 720, 1600])
@pytest.mark.parametrize("by", ["day", "item", "machine"])
def test_the_chart_is_one_svg_that_runs_nothing(opened: Opened, by: str, width: int) -> None:
    text = chart(read_all(opened, by=by, days=30), width)
    root = ElementTree.fromstring(text)
    names = {element.tag.partition("}")[2] for element in root.iter()}
    assert names <= {"svg", "title", "desc", "style", "rect", "text", "line", "g"}
    assert not any(name.startswith(("on", "href", "style")) for element in root.iter() for name in element.attrib)
    assert "prefers-color-scheme:dark" in text and "forced-colors" in text
    title, desc = root[0], root[1]
    assert title.text == f"Stored in the last 30 days, by {by}" and "55.0 MiB stored of 65.0 MiB" in (
        desc.text or ""
    )
    for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert float(rect.get("x", "-1")) >= 0 and float(rect.get("width", "-1")) >= 0
        assert 0 <= float(rect.get("height", "-1")) <= 180
        assert float(rect.get("x", "-1")) + float(rect.get("width", "-1")) <= width


def test_a_vault_without_jobs(tmp_path: Path) -> None:
    page = read_all(World(tmp_path).opened())
    assert (page.total, page.partial, page.total_stored, len(page.rows)) == (0, "", 0, 90)
    ElementTree.fromstring(chart(page))


def test_requests_and_what_is_partial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    key = world.add("box")
    for _n in range(100):
        world.now += DAY // 4
        world.job(key, stored_bytes=1)
    opened = world.opened()

    def cost() -> int:
        with numbers_of(opened)._lock:
            numbers_of(opened)._until = 0.0  # as if the names were old
        before = world.remote.requests
        assert read_all(opened, days=366).total_stored == 100
        return world.remote.requests - before

    assert cost() == 1 + 100, "a listing, and each record"
    assert cost() == 1, "each record is read once"
    monkeypatch.setattr(storage_module, "MOST", 40)
    with numbers_of(opened)._lock:
        numbers_of(opened)._until = 0.0
    few = read_all(opened, days=366)
    assert few.total_stored == 40 and few.partial == "only the newest 40 jobs are counted"


def test_a_vault_that_is_away(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.job(world.add("box"), stored_bytes=5)
    opened = world.opened()
    world.remote.away.reachable = False
    away = storage(opened, wait=PATIENCE)
    assert away.error is not None and away.error.kind == "StoreUnreachable" and away.total_stored == 0
    world.remote.away.reachable = True
    numbers = numbers_of(opened)
    with numbers._lock:
        numbers._until = 0.0
    assert read_all(opened).total_stored == 5


def test_so_many_owners_are_one_row(monkeypatch: pytest.MonkeyPatch, opened: Opened) -> None:
    monkeypatch.setattr(storage_module, "ROWS", 1)
    rows = read_all(opened, by="machine", days=30).rows
    assert [(row.label, row.stored // MIB) for row in rows] == [("<b>&\x00", 45), ("1 others", 10)]
