"""The folder screen: any number of names, and all of it by keys."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.browse.front.tabs import ROWS, active, opened, rows
from tests.browse.front.vault import MANY, Shown
from tests.kit.browser import watched

FEW = 120  # rows in the document, at most


def test_a_hundred_thousand_names(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        tab = opened(front, watch, front.folder("/many"))
        grid = tab.get_by_role("grid")
        expect(grid).to_have_attribute("aria-rowcount", str(MANY + 1))
        active(tab, "file-000000.dat")
        # The focus stays on its entry while the rows around it are recycled.
        tab.locator(".grid-view").evaluate("view => view.scrollTop = view.scrollHeight / 2")
        expect(tab.locator(ROWS, has_text="file-050000.dat")).to_be_visible()
        active(tab, "file-000000.dat")
        assert rows(tab) < FEW
        tab.keyboard.press("End")
        active(tab, "file-099999.dat")
        tab.keyboard.press("PageUp")
        tab.keyboard.press("PageDown")
        active(tab, "file-099999.dat")
        tab.keyboard.press("Home")
        active(tab, "file-000000.dat")
        tab.keyboard.press("'")
        tab.get_by_label("Jump to").press_sequentially("file-0777")
        expect(tab.locator(f"{ROWS}.active")).to_contain_text("file-077700.dat")
        tab.keyboard.press("Enter")
        active(tab, "file-077700.dat")
        expect(tab).to_have_url(re.compile("row=77700"))
        tab.reload()
        active(tab, "file-077700.dat")
        assert rows(tab) < FEW
        tab.keyboard.press("f")
        tab.keyboard.type("9999")
        expect(grid).to_have_attribute("aria-rowcount", "20")
        tab.keyboard.press("Enter")
        active(tab, "file-009999.dat")
        # The order by time is the other way round.
        tab.get_by_role("button", name="Changed").focus()
        tab.keyboard.press("Enter")
        expect(tab.get_by_role("columnheader", name="Changed")).to_have_attribute("aria-sort", "ascending")
        expect(tab.locator(f"{ROWS}[data-index='0']")).to_contain_text("file-099999.dat")
        expect(tab).to_have_url(re.compile("order=time.*filter=9999|filter=9999.*order=time"))


@pytest.mark.soak
def test_a_million_rows_fit_into_the_tallest_element(front: Shown, browser: Browser) -> None:
    """A browser caps the height of an element below what they need."""
    with watched(browser) as watch:
        tab = opened(front, watch, front.folder("/empty"))
        expect(tab.get_by_text("This folder is empty")).to_be_visible()
        tab.evaluate("""async () => {
            const base = document.querySelector('script[type=module]').src.replace('app.js', '');
            const {html} = await import(base + 'vendor/lit.js');
            class Numbers extends EventTarget {
                total = 1000000;
                row(i) { return {n: i}; }
                want() {}
                key(row) { return row.n; }
                async slice(a, b) { return Array.from({length: b - a + 1}, (_, i) => ({n: a + i})); }
            }
            const grid = document.createElement('rp-grid');
            grid.columns = [{key: 'name', label: 'Name', cell: (row) => html`number ${row.n}`}];
            grid.source = new Numbers();
            grid.style.setProperty('height', '20rem');
            grid.style.setProperty('display', 'block');
            document.querySelector('main').replaceChildren(grid);
            await grid.updateComplete;
            grid.moveTo(0);
        }""")
        tab.keyboard.press("End")
        active(tab, "number 999999")
        expect(tab.locator(ROWS, has_text="number 999998")).to_be_in_viewport()
        tab.keyboard.press("PageUp")
        tab.keyboard.press("ArrowUp")
        tab.keyboard.press("End")
        active(tab, "number 999999")
        tab.locator(".grid-view").evaluate("view => view.scrollTop = 0")
        expect(tab.locator(ROWS, has_text=re.compile("number 0$"))).to_be_in_viewport()
        assert rows(tab) < FEW


def test_a_row_is_found_though_the_folder_is_still_read(front: Shown, browser: Browser) -> None:
    """The first answers are as if the folder had fewer names, in another order; the older one comes last."""
    with watched(browser) as watch:
        answers: list[str] = []

        def partly(route: Route) -> None:
            answer = route.fetch()
            page = answer.json()
            if len(answers) < 5 and page["path"] == "/strange":
                answers.append(watch.context.pages[0].url)
                n = 3 if len(answers) < 5 else 2
                page |= {"state": "reading", "total": n, "read": n, "shown": n, "rows": page["rows"][n - 1 :: -1]}
            route.fulfill(response=answer, json=page)

        watch.context.route("**/folder?*", partly)
        tab = opened(front, watch, front.folder("/strange") + "?row=9")
        active(tab, "x" * 30)
        assert len(answers) == 5
        assert all(url.endswith("?row=9") for url in answers), answers  # not where it is meanwhile
        expect(tab.locator(f"{ROWS}[data-index='0']")).to_contain_text("spaces")


def test_keys_alone_lead_everywhere(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        tab = opened(front, watch, front.folder())
        active(tab, "away")
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("ArrowDown")
        active(tab, "kept")
        tab.keyboard.press("Enter")
        active(tab, "a.txt")
        tab.keyboard.press("[")
        expect(tab).to_have_url(re.compile(front.old))
        active(tab, "a.txt")
        tab.keyboard.press("]")
        expect(tab).to_have_url(re.compile(front.new))
        active(tab, "a.txt")
        tab.keyboard.press("p")
        expect(tab.get_by_text("newer")).to_be_visible()
        tab.keyboard.press("Escape")
        active(tab, "a.txt")
        tab.keyboard.press("Backspace")
        active(tab, "kept")
        tab.keyboard.press("End")
        tab.keyboard.press("Enter")
        active(tab, "broken.txt")
        tab.keyboard.press("Space")
        active(tab, "bytes.bin")
        tab.keyboard.press("Shift+ArrowDown")
        tab.keyboard.press("Shift+ArrowDown")
        expect(tab.locator(f"{ROWS}[aria-selected=true]")).to_have_count(4)
        tab.keyboard.press("Shift+ArrowUp")
        expect(tab.locator(f"{ROWS}[aria-selected=true]")).to_have_count(3)
        expect(tab.get_by_role("link", name="3 places in the basket")).to_be_visible()
        tab.keyboard.press("[")  # this point has no such folder
        expect(tab.locator("main").get_by_text("That path is not in this recovery point")).to_be_visible()
        expect(tab).to_have_url(re.compile(f"/point/{front.old}/Lw$"))
        tab.keyboard.press("?")
        expect(tab.get_by_role("dialog")).to_contain_text("a page up or down")
        tab.keyboard.press("Escape")
        expect(tab.get_by_role("dialog")).to_be_hidden()
        tab.keyboard.press("Escape")
        expect(tab).to_have_url(re.compile(front.new))
        tab.keyboard.press("g")
        tab.keyboard.press("d")  # which downloads, without the g
        expect(tab).to_have_url(f"{front.page.origin}/drives")
        expect(tab.get_by_role("heading", name="Drives", exact=True)).to_be_visible()
        tab.keyboard.press("d")
        expect(tab).to_have_url(f"{front.page.origin}/drives")
        assert len(tab.evaluate("JSON.parse(sessionStorage.getItem('rpdrive basket'))")) == 3


@pytest.mark.soak
def test_a_part_that_fails_costs_that_part(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        watch.expected.append("502")
        damaged = {"kind": "Damaged", "message": "a page is damaged", "advice": "open another point"}
        watch.context.route("**/folder?*from=50000&*", lambda route: route.fulfill(status=502, json=damaged))
        tab = opened(front, watch, front.folder("/many"))
        active(tab, "file-000000.dat")
        tab.keyboard.press("'")
        tab.get_by_label("Jump to").press_sequentially("file-0501")
        expect(tab.get_by_role("alert")).to_contain_text("a page is damaged")
        tab.get_by_label("Jump to").fill("file-0701")
        expect(tab.locator(f"{ROWS}.active")).to_contain_text("file-070100.dat")
        watch.context.unroute_all()
        tab.get_by_role("button", name="Try again").click()
        expect(tab.get_by_role("alert")).to_have_count(0)
        active(tab, "file-070100.dat")
        tab.keyboard.press("'")
        tab.get_by_label("Jump to").fill("file-0501")
        expect(tab.locator(f"{ROWS}.active")).to_contain_text("file-050100.dat")


@pytest.mark.soak
def test_letters_can_be_switched_off(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        tab = opened(front, watch, "/about")
        tab.get_by_role("checkbox", name="Letters and signs").uncheck()
        tab.goto(front.page.origin + front.folder())
        active(tab, "away")
        tab.keyboard.press("f")
        tab.keyboard.press("?")
        tab.keyboard.press("ArrowDown")
        active(tab, "empty")
        expect(tab.get_by_role("dialog")).to_be_hidden()


def test_the_address_of_a_file_shows_its_folder(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        tab = opened(front, watch, front.folder("/many/file-031415.dat"))
        active(tab, "file-031415.dat")
        expect(tab).to_have_url(re.compile(f"{re.escape(front.folder('/many'))}.row=31415"))
        expect(tab).to_have_title(re.compile("^/many at 2026-11-2"))
        tab.get_by_label("Day").fill("2026-11-22")
        tab.keyboard.press("Enter")
        expect(tab).to_have_url(re.compile(front.old))
        tab.go_back()
        active(tab, "file-031415.dat")
