"""The focus ends where it belongs, in whatever order answers, drawing and the user's next steps come."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Route, expect
from playwright.sync_api import Page as Tab

from tests.browse.front.tabs import ROWS, active, opened
from tests.browse.front.vault import Shown
from tests.kit.browser import watched

# The user goes to another folder, and back before it could be shown: what the frame hears in one turn of the loop.
THERE_AND_BACK = """(there) => {
    const here = location.href;
    history.replaceState(history.state, "", there);
    dispatchEvent(new Event("rp-route"));
    history.replaceState(history.state, "", here);
    dispatchEvent(new PopStateEvent("popstate", {state: history.state}));
}"""
# A letter is typed into the filter, and just then the active row comes, and is told.
TYPED_AS_A_ROW_COMES = """(text) => {
    const [box, grid] = [document.querySelector(".filter"), document.querySelector("rp-grid")];
    box.focus();
    box.value = text;
    box.dispatchEvent(new Event("input", {bubbles: true}));
    grid.dispatchEvent(new CustomEvent("rp-active", {detail: {row: grid.row, index: grid.active}}));
}"""
DRAWN = "new Promise((drawn) => setTimeout(() => requestAnimationFrame(() => setTimeout(drawn, 50)), 0))"


@contextmanager
def held(tab: Tab, pattern: str) -> Iterator[None]:
    """Requests like this, of which there is one at least, get their answers at the end."""
    waiting: list[Route] = []
    hold: Callable[[Route], None] = waiting.append

    def came(route: Route) -> None:
        hold(route)

    tab.route(pattern, came)
    with tab.expect_request(pattern):
        yield
    while not waiting:
        tab.wait_for_timeout(10)
    hold = Route.continue_
    for route in waiting:
        route.continue_()
    for route in waiting:
        if answer := route.request.response():  # there is none to what the page gave up
            answer.finished()
    tab.evaluate(DRAWN)


def test_back_before_the_other_folder_is_shown(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        tab = opened(front, watch, front.folder("/many") + "?row=31415")
        active(tab, "file-031415.dat")
        expect(tab.get_by_text("100,000 names")).to_be_visible()  # nothing more comes by itself
        tab.get_by_label("Day").fill("2026-11-22")
        tab.evaluate("document.activeElement.blur()")
        tab.evaluate(THERE_AND_BACK, front.folder("/many", point=front.old))
        active(tab, "file-031415.dat")
        expect(tab.get_by_label("Day")).to_have_value("2026-11-23")
        with held(tab, "**/folder?*"):
            tab.get_by_label("Day").fill("2026-11-22")
            tab.keyboard.press("Enter")
            active(tab, "file-031415.dat")  # at once
            expect(tab).to_have_url(re.compile(front.old))
            tab.go_back()
            expect(tab).to_have_url(re.compile(front.new))
        active(tab, "file-031415.dat")
        expect(tab.get_by_label("Day")).to_have_value("2026-11-23")
        expect(tab.get_by_text("That path is not in this recovery point")).to_have_count(0)


def test_a_late_answer_leads_nobody_away(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        tab = opened(front, watch, front.folder("/kept"))
        active(tab, "a.txt")
        with held(tab, "**/points?*"):
            tab.get_by_label("Day").fill("2026-11-22")
            tab.keyboard.press("Enter")
            tab.keyboard.press("Backspace")
            active(tab, "kept")
        expect(tab).to_have_url(re.compile(front.new))
        active(tab, "kept")
        tab.keyboard.press("/")
        expect(tab.get_by_label("Name, or part of a path")).to_be_focused()
        tab.keyboard.type("*.txt")
        with held(tab, "**/searches"):
            tab.keyboard.press("Enter")
            tab.get_by_role("link", name="Basket").click()
            expect(tab.get_by_role("heading", name="Basket")).to_be_visible()
        expect(tab).to_have_url(f"{front.page.origin}/basket")
        tab.get_by_role("link", name="Search").click()
        expect(tab.get_by_role("link", name="*.txt")).to_be_visible()


def test_the_focus_follows_the_active_row(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        tab = opened(front, watch, front.folder("/many"))
        active(tab, "file-000000.dat")
        with held(tab, "**/rank?*"):
            tab.keyboard.press("'")
            tab.get_by_label("Jump to").fill("file-0777")
            tab.keyboard.press("Enter")
            active(tab, "file-000000.dat")
        active(tab, "file-077700.dat")
        with held(tab, "**/folder?*"):  # it comes below a dialog, which gives the focus back when it is closed
            tab.keyboard.press("Backspace")
            tab.keyboard.press("?")
            expect(tab.get_by_role("dialog")).to_be_visible()
        expect(tab.locator(f"{ROWS}[tabindex='0']")).to_contain_text("many")
        tab.keyboard.press("Escape")
        active(tab, "many")


def test_who_types_is_not_interrupted(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        tab = opened(front, watch, front.folder("/many"))
        active(tab, "file-000000.dat")
        tab.evaluate(TYPED_AS_A_ROW_COMES, "9999")
        expect(tab.get_by_role("grid")).to_have_attribute("aria-rowcount", "20")
        box = tab.get_by_label("Filter")
        expect(box).to_be_focused()
        with held(tab, "**/folder?*"):
            box.fill("99999")
            tab.keyboard.press("Enter")
        active(tab, "file-099999.dat")
        expect(box).to_have_value("99999")
        with held(tab, "**/searches"):
            tab.keyboard.press("/")
            expect(tab.get_by_label("Name, or part of a path")).to_be_focused()
            below = tab.get_by_label("Only below this folder")
            below.fill("/texts")
        expect(tab.get_by_role("heading", name="Recent searches")).to_be_visible()
        expect(below).to_be_focused()
        expect(below).to_have_value("/texts")
        tab.goto(f"{front.page.origin}/restore?point={front.new}&at=Lw")
        target = tab.get_by_label("Folder to restore into")  # the vault is of another machine
        with held(tab, "**/folders*"):
            tab.get_by_role("button", name="Choose from a list").click()
            target.fill("nowhere")
        expect(tab.get_by_role("group", name=re.compile("^Folders in"))).to_be_visible()
        expect(target).to_be_focused()
        expect(target).to_have_value("nowhere")


def test_a_calendar_leaves_the_focus_to_who_went_on(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        tab = opened(front, watch, "/calendar?day=2026-11-22")
        day = tab.locator("[role=gridcell][tabindex='0']")
        expect(tab.locator("#day-points [data-row]")).to_contain_text("warnings")
        day.focus()
        with held(tab, "**/points?*"):
            tab.keyboard.press("Enter")
            tab.keyboard.press("ArrowRight")
            expect(day).to_have_attribute("data-day", "2026-11-23")
        expect(tab.locator("#day-points [data-row]")).to_be_visible()
        expect(day).to_be_focused()
        # The month shown is chosen again: what comes later, comes without the focus.
        tab.get_by_role("navigation", name="Months of 2026").locator("[aria-current=true]").click()
        expect(day).to_be_focused()
        box = tab.get_by_label("Machine and item")
        box.focus()
        tab.evaluate("document.querySelector('rp-calendar').requestUpdate()")
        tab.evaluate(DRAWN)
        expect(box).to_be_focused()


def test_a_button_that_can_not_be_pressed_keeps_the_focus(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        tab = opened(front, watch, front.preview("/texts/bytes.bin"))
        earlier, later = (tab.get_by_role("button", name=f"{which} bytes") for which in ("Earlier", "Later"))
        expect(earlier).to_be_disabled()
        here = tab.url
        earlier.focus()
        tab.keyboard.press("Enter")
        earlier.click(force=True)
        tab.evaluate(DRAWN)
        assert tab.url == here
        expect(earlier).to_be_focused()
        later.focus()
        for _ in range(9):
            tab.keyboard.press("Enter")
            tab.evaluate(DRAWN)
        expect(later).to_be_disabled()
        expect(later).to_be_focused()


def test_a_form_is_not_sent_by_a_button_that_can_not_be_pressed(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        tab = opened(front, watch, f"/restore?point={front.new}&at=Lw")
        plan = tab.get_by_role("button", name="Show the plan")
        expect(plan).to_be_disabled()
        sent: list[str] = []
        tab.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
        plan.focus()
        tab.keyboard.press("Enter")
        tab.get_by_role("textbox").first.press("Enter")
        tab.evaluate(DRAWN)
        assert sent == []
        expect(plan).to_be_disabled()


def test_a_button_keeps_the_focus_while_it_works(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        tab = opened(front, watch, front.preview("/texts/long.txt"))
        more = tab.get_by_role("button", name="Show more")
        expect(more).to_be_enabled()
        more.focus()
        with held(tab, "**/text?*"):
            tab.keyboard.press("Enter")
            expect(more).to_be_disabled()
            expect(more).to_be_focused()
        expect(more).to_be_enabled()
        expect(more).to_be_focused()
