"""What is away comes back, and the page goes on; a session that has ended says so."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Route, expect

from mount.browse.pages.shell import PRELOADED
from tests.browse.front.tabs import ROWS, active, opened
from tests.browse.front.vault import Shown
from tests.kit.browser import watched


def test_the_page_goes_on_when_the_store_is_back(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        watch.expected.append("503")
        tab = opened(front, watch, front.folder("/away"))
        active(tab, "one.txt")
        front.store.reachable = False
        try:
            tab.keyboard.press("p")
            expect(tab.get_by_role("alert")).to_contain_text("no answer")
            tab.go_back()
            expect(tab.locator(ROWS, has_text="one.txt")).to_be_visible()
            tab.go_forward()
            expect(tab.get_by_role("alert")).to_contain_text("goes on by itself")
        finally:
            front.store.reachable = True
        # It goes on by itself, too, and then there is nothing left to press.
        tab.evaluate("document.querySelector('.banner button')?.click()")
        expect(tab.get_by_role("region", name="Text of the file")).to_contain_text("away and back")
        expect(tab.get_by_role("alert")).to_have_count(0)


def test_a_screen_that_does_not_load_can_be_tried_again(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        watch.expected += ["404", "Failed to load"]
        tab = opened(front, watch, front.folder(point="0" * 32))
        told = tab.get_by_role("alert")
        expect(told.get_by_role("link", name="Calendar")).to_be_visible()  # where the advice sends: no "try again"
        expect(told.get_by_role("button")).to_have_count(0)
        tab.goto(f"{front.page.origin}/nowhere")
        expect(told).to_contain_text("there is no such page")
        expect(told.get_by_role("link", name="Start")).to_have_attribute("href", "/")
        tab.route("**/screens/about.js", lambda route: route.abort())
        tab.get_by_role("link", name="Keys and about").click()
        expect(tab.get_by_role("alert")).to_contain_text("a part of this page can't be loaded")
        tab.unroute_all()
        tab.get_by_role("button", name="Try again").click()
        expect(tab.get_by_role("heading", name="Keys and about")).to_be_visible()


PARTS = (*PRELOADED, "app.js", "screens/about.js", "css/app.css")


@pytest.mark.parametrize(("part", "times"), [*((name, 1) for name in PARTS), *((name, 3) for name in PARTS[-3:])])
def test_a_part_that_does_not_arrive_is_fetched_again(
    front: Shown, browser: Browser, part: str, times: int
) -> None:
    """As when the network changes: Chromium then ends all requests, those to this machine, too."""
    with watched(browser) as watch:
        watch.expected.append("net::ERR_FAILED")
        left = [times]

        def some(route: Route) -> None:
            left[0] -= 1
            if left[0] >= 0:
                route.abort()
            else:
                route.continue_()

        watch.context.route(f"**/static/*/{part}", some)
        tab = opened(front, watch, "/about")
        expect(tab.get_by_role("heading", name="Keys and about")).to_be_visible()
        expect(tab.locator("header.top")).to_have_css("display", "flex")
        assert left[0] < 0
        assert tab.evaluate("sessionStorage.getItem('rpdrive loads')") is None


@pytest.mark.parametrize("kept", ["written", "only read", "none"])
def test_a_part_that_never_arrives_is_told(front: Shown, browser: Browser, kept: str) -> None:
    """It does not load for ever, also where a browser keeps nothing for the tab, or nothing more."""
    with watched(browser) as watch:
        watch.expected.append("net::ERR_FAILED")
        if kept != "written":
            name = "setItem" if kept == "only read" else "getItem"
            watch.context.add_init_script(
                f"Storage.prototype.{name} = () => {{ throw new DOMException('no room', 'QuotaExceededError'); }}"
            )
        watch.context.route("**/static/*/api.js", lambda route: route.abort())
        watch.context.add_init_script(
            "{const later = setTimeout; window.setTimeout = (f, ms) => later(f, ms / 50)}"
        )
        tab = opened(front, watch, "/about")
        expect(tab.get_by_text("A part of this page does not arrive")).to_be_visible()
        if kept != "written":
            return
        watch.context.unroute_all()
        tab.reload()
        expect(tab.get_by_role("heading", name="Keys and about")).to_be_visible()


@pytest.mark.parametrize("lost", [1, 2])
def test_a_link_works_when_only_its_answer_is_lost(front: Shown, browser: Browser, lost: int) -> None:
    """The session that nobody got to know of is ended."""
    with watched(browser) as watch:
        watch.expected.append("net::ERR_FAILED")
        sessions, left = len(front.page.context.sessions), [lost]

        def answered(route: Route) -> None:
            if left[0] and route.request.method == "POST":
                left[0] -= 1
                route.fetch()
                route.abort()
            else:
                route.continue_()

        watch.context.route("**/api/v1/session", answered)
        tab = opened(front, watch, "/about")
        expect(tab.get_by_role("heading", name="Keys and about")).to_be_visible()
        expect(tab.get_by_role("alert")).to_have_count(0)
        assert left == [0] and len(front.page.context.sessions) == sessions + 1


def test_a_session_that_is_over_says_so(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        watch.expected.append("401")
        tab = opened(front, watch, "/about")
        tab.get_by_role("button", name="Make a link").click()
        link = tab.get_by_label("Link (").input_value()
        other = watch.context.new_page()
        other.goto(front.page.origin + front.folder())
        active(other, "away")
        tab.get_by_role("button", name="End this session").click()
        expect(tab.get_by_role("alert")).to_contain_text("rpdrive browse --link")
        other.keyboard.press("Enter")
        expect(other.get_by_text("This session is over")).to_be_visible()
        expect(other.locator(ROWS, has_text="texts")).to_be_visible()
        tab.goto(link.replace("/#", "/about#"))  # made before the end, and good for a session of its own
        expect(tab.get_by_role("alert")).to_have_count(0)
        other.get_by_role("button", name="Try again").click()
        expect(other.locator(ROWS, has_text="one.txt")).to_be_visible()


def test_an_answer_that_does_not_come_is_told(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        tab = opened(front, watch, "/about")
        held: list[Route] = []
        tab.clock.install()
        tab.route("**/api/v1/searches", lambda route: held.append(route))  # noqa: PLW0108  (a builtin can't be marked)
        with tab.expect_request("**/api/v1/searches"):
            tab.get_by_role("link", name="Search").click()
        tab.clock.run_for(100)
        tab.clock.fast_forward(11_000)
        expect(tab.get_by_role("alert")).to_contain_text("there is no answer yet")
        for one in held:
            one.continue_()
        expect(tab.get_by_role("alert")).to_have_count(0)
