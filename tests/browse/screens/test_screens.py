"""The screens: calendar, search and basket, versions and comparison, drives; for everyone, and read-only."""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from catalog.store.memory import MemoryStore
from mount.browse.resources.wire import path64
from tests.browse.screens.conftest import Lived, enter
from tests.browse.search.many import GateStore, ManyPoints
from tests.catalog.test_history import blocks_of
from tests.kit.browser import Watched, broken_rules, watched
from tests.kit.browsing import Page, opened_as, opened_vault, page_of
from tests.kit.vaults import new_vault


def spoken(day: date) -> str:
    return day.strftime("%A %-d %B %Y")


def month_before(day: date) -> date:
    """The same day of the month before, or its last one."""
    end = day.replace(day=1) - timedelta(1)
    return end.replace(day=min(day.day, end.day))


def test_a_day_is_found_by_keys_and_lists_its_points(page: Page, desk: Watched) -> None:
    points = page.get("/points")["points"]
    last, before = (date.fromisoformat(point["time"][:10]) for point in points[:2])
    tab = enter(page, desk, "/calendar")
    expect(tab.get_by_role("heading", name=spoken(last))).to_be_visible()
    cell = tab.get_by_role("gridcell", name=spoken(last))
    expect(cell).to_contain_text("1 recovery point, good")
    cell.focus()
    tab.keyboard.press("PageUp")
    expect(tab.get_by_role("gridcell", name=spoken(month_before(last)))).to_be_focused()
    expect(tab.get_by_role("heading", name=month_before(last).strftime("%B %Y"))).to_be_visible()
    for _ in range((before - month_before(last)).days):
        tab.keyboard.press("ArrowRight")
    expect(tab.get_by_role("gridcell", name=spoken(before))).to_be_focused()
    tab.keyboard.press("Enter")
    row = tab.locator("#day-points [data-row]")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("4 files")
    expect(row.get_by_role("link", name="Compare with the one before")).to_be_visible()
    expect(row.locator("[data-first]")).to_be_focused()
    assert f"day={before}" in tab.url
    tab.get_by_label("Machine and item").select_option(index=1)
    expect(tab.get_by_role("heading", name=spoken(last))).to_be_visible()


def test_hits_come_stay_and_the_search_can_be_cancelled(tmp_path: Path, browser: Browser) -> None:
    gate = GateStore(MemoryStore())
    vault = new_vault(gate)
    many = ManyPoints(vault, folders=3, each=10)
    for n in range(4):
        many.commit(1 if n else 0)
    newest = len(blocks_of(vault, many.points[-1:]))
    with page_of(opened_as(tmp_path, vault)) as page, watched(browser) as desk:
        gate.free = newest
        gate.open.clear()
        tab = enter(page, desk, "/search")
        tab.get_by_label("Name, or part of a path").fill("file-00*")
        tab.keyboard.press("Enter")
        hits = tab.locator(".hits [data-row]")
        expect(hits).to_have_count(30)
        expect(hits.first).to_contain_text("in 1 point, ")
        expect(hits.first).to_contain_text("so far")
        expect(tab.locator("[data-state=running]")).to_contain_text("Searching: 30 hits")
        address = tab.url
        tab.keyboard.press("g")
        tab.keyboard.press("c")
        expect(tab.get_by_role("heading", name="Calendar")).to_be_visible()
        tab.go_back()
        expect(hits).to_have_count(30)
        assert tab.url == address
        tab.get_by_role("button", name="Cancel").click()
        expect(tab.locator("[data-state=cancelled]")).to_contain_text("the list holds what was found until then")
        expect(tab.get_by_role("heading", name="Search for file-00*")).to_be_focused()
        expect(hits).to_have_count(30)
        gate.open.set()
        tab.get_by_text("Search again, or otherwise").click()
        tab.get_by_label("Only below this folder").fill("folder-00001/")
        tab.get_by_role("button", name="Search", exact=True).click()
        expect(tab.locator("[data-state=done]")).to_contain_text("Finished: 10 hits")
        expect(hits.first).to_contain_text("in 4 points, ")
        assert tab.url != address
        expect(tab.get_by_role("heading", name="Search for file-00*")).to_be_focused()
        hits.first.locator("[data-first]").press("Space")
        expect(tab.get_by_role("button", name="In the basket")).to_have_count(1)
        tab.keyboard.press("g")
        tab.keyboard.press("b")
        expect(tab.locator("rp-basket [data-row]")).to_contain_text("/folder-00001/file-000.txt")
        tab.locator("rp-basket [data-first]").press("x")
        expect(tab.locator("main").get_by_text("The basket is empty")).to_be_visible()
        expect(tab.get_by_role("heading", name="Basket")).to_be_focused()


def test_two_versions_and_two_points_are_compared(lived: Lived, page: Page, desk: Watched) -> None:
    points = page.get("/points")["points"]
    newest, oldest = points[0], points[-1]
    report = path64(os.fsencode(lived.source / "docs" / "report.txt"))
    tab = enter(page, desk, f"/versions/{newest['machine']}/{newest['item']}/{report}")
    rows = tab.locator(".versions [data-row]")
    expect(rows).to_have_count(3)
    tab.keyboard.press("]")
    expect(rows.nth(0).locator("[data-first]")).to_be_focused()
    tab.keyboard.press("Space")
    tab.keyboard.press("[")
    tab.keyboard.press("[")
    expect(rows.nth(2).locator("[data-first]")).to_be_focused()
    tab.keyboard.press("Space")
    tab.get_by_role("button", name="Compare the two").press("Enter")
    expect(tab.locator("#compared")).to_be_focused()
    expect(tab.get_by_text("2 lines added, 2 lines removed.")).to_be_visible()
    expect(tab.locator(".diff .added")).to_contain_text(["A NEW LINE of the report", "A NEW LINE of the report"])
    assert f"after={newest['id']}" in tab.url and f"before={oldest['id']}" in tab.url

    tab.goto(f"{page.origin}/compare?before={oldest['id']}&after={newest['id']}")
    changes = tab.locator(".changes [data-row]")
    expect(changes).to_have_count(5)
    marks = {
        row.locator(".main").inner_text().rpartition("/")[2]: row.locator(".mark").inner_text()
        for row in changes.all()
    }
    assert marks == {
        "docs": "U only metadata", "day-0.txt": "+ added", "day-1.txt": "+ added", "precious.txt": "- removed",
        "report.txt": "M changed",
    }  # fmt: skip
    changes.filter(has_text="report.txt").get_by_role("button").press("Enter")
    expect(tab.locator(".diff .removed")).to_have_count(2)
    tab.set_viewport_size({"width": 1280, "height": 300})
    precious = changes.filter(has_text="precious.txt").locator("[data-first]")
    precious.focus()
    left = tab.evaluate("scrollY")
    assert left > 0
    precious.press("v")
    expect(tab.get_by_role("heading", name="Versions of")).to_contain_text("precious.txt")
    expect(tab.get_by_text("1 point doesn't have it")).to_be_visible()
    tab.go_back()
    expect(precious).to_be_focused()
    tab.wait_for_function("(top) => scrollY === top", arg=left)


# Links in a sentence may be as low as its line (WCAG 2.5.8).
SMALL = """() => [...document.querySelectorAll("main :is(a, button, input, select, summary)")]
    .filter((one) => one.checkVisibility() && !one.matches("p > a"))
    .filter((one) => Math.min(one.getBoundingClientRect().width, one.getBoundingClientRect().height) < 24)
    .map((one) => one.outerHTML.slice(0, 200))"""


@pytest.mark.soak
def test_every_screen_is_for_everyone(lived: Lived, page: Page, browser: Browser, tmp_path: Path) -> None:
    points = page.get("/points")["points"]
    newest, oldest = points[0], points[-1]
    one, other = newest["id"], oldest["id"]
    report = path64(os.fsencode(lived.source / "docs" / "report.txt"))
    planned = {"places": [{"point": one, "at": report}], "to": path64(os.fsencode(tmp_path / "new"))}
    restore = page.post("/restores", planned)["id"]
    search = page.post("/searches", {"text": "*.txt"})["id"]
    screens = {
        "/calendar": "#day-points [data-row]",
        "/search": "#search-text",
        f"/search/{search}": "[data-state=done]",
        f"/versions/{newest['machine']}/{newest['item']}/{report}?before={other}&after={one}": ".diff",
        f"/compare?before={other}&after={one}": ".changes [data-row]",
        f"/restore?point={one}&at={report}": ".restore-form",
        f"/restore/{restore}": ".paths",
        "/drives": "#open-one",
        "/basket": ".empty",
    }
    with watched(browser, (320, 740), scheme="dark", touch=True, bypass_csp=True) as phone:
        tab = enter(page, phone, "/basket")
        for path, wait in screens.items():
            tab.goto(page.origin + path)
            expect(tab.locator(wait).first).to_be_visible()
            found = {
                "rules": broken_rules(tab), "small": tab.evaluate(SMALL),
                "width": tab.evaluate("document.documentElement.scrollWidth"),
                "headings": tab.locator("h1").count(), "named": tab.title() not in ("", "rpdrive"),
            }  # fmt: skip
            assert found == {"rules": [], "small": [], "width": 320, "headings": 1, "named": True}, path


def test_read_only_and_nothing_chosen_say_so(lived: Lived, browser: Browser) -> None:
    opened = opened_vault(lived.cli.home, lived.cli.vault, read_only=True)
    with page_of(opened) as page, watched(browser) as desk:
        point = page.get("/points")["points"][0]["id"]
        tab = enter(page, desk, f"/restore?point={point}&at=Lw")
        expect(tab.get_by_role("heading", name="This page is read-only")).to_be_visible()
        expect(tab.locator(".copyable code")).to_have_text(f"rpdrive restore {point[:12]}:/ --to DIR")
        assert tab.get_by_role("button", name="Show the plan").count() == 0
        tab.goto(f"{page.origin}/restore")
        expect(tab.get_by_text("Nothing is chosen")).to_be_visible()
        tab.goto(f"{page.origin}/drives")
        expect(tab.get_by_text("This page is read-only")).to_be_visible()
        tab.goto(f"{page.origin}/compare")
        expect(tab.get_by_text("No points are chosen")).to_be_visible()


@pytest.mark.soak
@pytest.mark.needs_fuse
def test_a_drive_is_opened_read_and_closed(lived: Lived, page: Page, desk: Watched) -> None:
    oldest = page.get("/points")["points"][-1]["id"]
    tab = enter(page, desk, f"/drives?point={oldest}")
    expect(tab.get_by_text("No drive is open on this machine")).to_be_visible()
    tab.get_by_role("button", name="Open", exact=True).press("Enter")
    expect(tab.get_by_role("heading", name="The drive is open")).to_be_focused()
    place = Path(tab.locator(".copyable code").inner_text())
    kept = lived.kept / "precious.txt"
    try:
        copy = place.joinpath(*lived.source.parts[1:], "docs", "precious.txt")
        assert copy.read_bytes() == kept.read_bytes()
        with copy.open("rb"):
            desk.expected.append("500")  # it is in use
            tab.get_by_role("button", name=f"Close {place}").press("Enter")
            expect(tab.get_by_role("alert")).to_contain_text("is in use by")
            expect(tab.get_by_text("Programs that have files of it open can go on")).to_be_visible()
            tab.get_by_role("button", name="Leave it open").press("Enter")
        tab.get_by_role("button", name=f"Close {place}").press("Enter")
        expect(tab.get_by_role("heading", name="Open drives")).to_be_focused()
        expect(tab.get_by_text("No drive is open on this machine")).to_be_visible()
        assert not place.exists()
    finally:
        lived.cli.run("unmount", place)
