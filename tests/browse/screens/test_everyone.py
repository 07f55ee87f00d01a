"""Each screen for everyone: rules of WCAG 2.2 AA, 320 px wide, dark, nothing to hit smaller than 24 px."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from mount.browse.resources.wire import path64
from tests.browse.screens.conftest import Lived, enter
from tests.kit.browser import broken_rules, watched
from tests.kit.browsing import Page, opened_vault, page_of

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
