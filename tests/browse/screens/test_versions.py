"""Versions of a path and the difference of two of them; two points compared. By keys."""

from __future__ import annotations

import os

from playwright.sync_api import expect

from mount.browse.resources.wire import path64
from tests.browse.screens.conftest import Lived, enter
from tests.kit.browser import Watched
from tests.kit.browsing import Page


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
    changes.filter(has_text="precious.txt").locator("[data-first]").press("v")
    expect(tab.get_by_role("heading", name="Versions of")).to_contain_text("precious.txt")
    expect(tab.get_by_text("1 point doesn't have it")).to_be_visible()
