"""A search: hits come while it runs, its address keeps them, and it can be cancelled."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from catalog.store.memory import MemoryStore
from tests.browse.screens.conftest import enter
from tests.browse.search.many import GateStore, ManyPoints
from tests.catalog.test_history import blocks_of
from tests.kit.browser import watched
from tests.kit.browsing import opened_as, page_of
from tests.kit.vaults import new_vault


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
        tab.get_by_label("Only below this folder").fill("/folder-00001")
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
        expect(tab.get_by_text("The basket is empty")).to_be_visible()
        expect(tab.get_by_role("heading", name="Basket")).to_be_focused()
