"""The page for small windows, dark rooms, forced colours and screen readers."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.browse.front.tabs import ROWS, active, opened, overflow
from tests.browse.front.vault import Shown
from tests.kit.browser import broken_rules, watched

SMALL = (320, 640)


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.soak), "dark"])
def test_it_fits_a_small_window_and_breaks_no_rule(front: Shown, browser: Browser, scheme: str) -> None:
    with watched(browser, SMALL, scheme=scheme, touch=scheme == "dark", bypass_csp=True) as watch:
        tab = opened(front, watch, front.folder("/strange"))
        expect(tab.locator(ROWS, has_text="raw")).to_be_visible()
        assert tab.locator(f"{ROWS}:visible").count() > 5
        tab.get_by_role("button", name="More about").click()
        expect(tab.locator("rp-entry")).to_contain_text("Mode")
        tab.get_by_role("button", name="Other days").click()
        expect(tab.get_by_label("Day")).to_be_visible()
        assert overflow(tab) == 0
        assert broken_rules(tab) == []
        small = tab.evaluate("""() => [...document.querySelectorAll('button, input, .top a, .grid-mark')]
            .map((each) => [each.outerHTML.slice(0, 80), each.getBoundingClientRect()])
            .filter(([, box]) => box.width && (box.height < 24 || box.width < 24)).map(([html]) => html)""")
        assert small == []
        tab.get_by_role("button", name="Menu").click()
        expect(tab.get_by_role("link", name="Keys and about")).to_be_visible()
        assert overflow(tab) == 0
        tab.get_by_role("link", name="Keys and about").click()
        expect(tab.get_by_role("heading", name="Another device")).to_be_visible()
        assert overflow(tab) == 0
        assert broken_rules(tab) == []
        tab.goto(front.page.origin + front.preview("/texts/long.txt"))
        expect(tab.get_by_role("region", name="Text of the file")).to_be_visible()
        expect(tab.locator("rp-entry")).to_contain_text("Mode")
        assert overflow(tab) == 0
        assert broken_rules(tab) == []


@pytest.mark.soak
def test_a_wide_window_breaks_no_rule(front: Shown, browser: Browser) -> None:
    with watched(browser, bypass_csp=True) as watch:
        tab = opened(front, watch, front.folder("/many"))
        active(tab, "file-000000.dat")
        tab.keyboard.press("Space")
        tab.keyboard.press("'")
        expect(tab.get_by_label("Jump to")).to_be_focused()
        assert broken_rules(tab) == []
        tab.emulate_media(forced_colors="active")
        assert broken_rules(tab) == []
        tab.goto(front.page.origin + front.preview("/texts/bytes.bin"))
        expect(tab.get_by_role("region", name="Bytes of the file")).to_be_visible()
        tab.get_by_role("button", name="Help").click()
        expect(tab.get_by_role("dialog")).to_be_visible()
        assert broken_rules(tab) == []
        tab.goto(front.page.origin + front.folder("/empty"))
        expect(tab.get_by_text("This folder is empty")).to_be_visible()
        assert broken_rules(tab) == []
