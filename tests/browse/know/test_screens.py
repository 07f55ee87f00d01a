"""The five screens, in a browser: what each says, also of a vault that is empty, hostile or away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from catalog.format.records import Outcome, Problem
from mount.browse.resources import looks
from tests.browse.know.worlds import DAY, HOUR, World
from tests.kit.browser import PHONE, broken_rules, watched
from tests.kit.browsing import Page, page_of

HOSTILE = '<img src=x onerror="document.title=1">\u202egnp'


class Shown:
    def __init__(self, world: World, page: Page) -> None:
        self.world, self.page = world, page


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Three machines today: one as planned, one late, one with a name that strangers chose."""
    world = World(tmp_path_factory.mktemp("screens"))
    good, late, odd = world.add("srv01"), world.add("srv02"), world.add(HOSTILE)
    for key in (good, late):
        world.plan(key[1], 21 * 60)
    for _day in range(4):
        world.point(good, "srv01", stored_bytes=3 << 20, new_bytes=5 << 20, files=7, bytes=9 << 20)
        world.point(late, "srv02", stored_bytes=1 << 20, new_bytes=1 << 20)
        world.point(odd, HOSTILE)
        world.now += DAY
    world.now += DAY
    world.point(
        good, "srv01", outcome=Outcome.WITH_WARNINGS, problem_count=1,
        problems=[Problem(path=b"home/busy\xff", reason="it changed while it was read")],
    )  # fmt: skip
    world.now += HOUR
    with page_of(world.opened()) as page:
        yield Shown(world, page)


def test_the_screens_say_what_is_known(shown: Shown, browser: Browser) -> None:
    page = shown.page
    with watched(browser, bypass_csp=False) as context:
        tab = context.context.new_page()
        tab.goto(page.link())
        main = tab.locator("main")
        expect(main.get_by_role("heading", name="Protection")).to_be_visible()
        expect(main.get_by_text("Looked at")).to_be_visible()
        expect(main.locator(".overall .state.critical")).to_have_text("critical")
        late = main.get_by_role("region", name="srv02")
        expect(late).to_contain_text("overdue")
        expect(late.locator(".days li")).to_have_count(30)
        expect(late.locator(".days .missed").first).to_contain_text("a planned backup did not come")
        expect(main.get_by_text("rpdrive plan now --item home").first).to_be_visible()
        expect(main).to_contain_text(HOSTILE.partition("\u202e")[0])
        tab.get_by_label("Name").fill("srv01")
        expect(main.get_by_role("region", name="srv02")).to_have_count(0)
        expect(main.get_by_role("region", name="srv01")).to_be_visible()

        tab.get_by_role("link", name="Jobs", exact=True).click()
        expect(main.get_by_role("row")).to_have_count(14)
        tab.get_by_label("that ended").select_option("completed with warnings")
        expect(main.get_by_role("row")).to_have_count(2)
        main.get_by_role("row").last.get_by_role("link").click()
        expect(main.get_by_role("heading", name="backup of home")).to_be_visible()
        expect(main).to_contain_text("it changed while it was read")

        tab.get_by_role("link", name="Policies").click()
        expect(main.get_by_role("region", name="home of srv01")).to_contain_text("Backs up /home at 21:00 (UTC).")
        expect(main.get_by_role("region", name="home of srv01")).to_contain_text("Every point is kept")
        tab.get_by_role("link", name="Storage").click()
        expect(main).to_contain_text("16.0 MiB")
        picture = main.locator("img.chart")
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("i => i.naturalWidth") == 720
        tab.get_by_role("combobox", name="By").select_option("machine")
        expect(main.get_by_role("row", name="srv01")).to_contain_text("12.0 MiB")
        tab.get_by_role("link", name="Alerts").click()
        expect(main).to_contain_text("backup is overdue")
        assert tab.title() == "Alerts \u2013 rpdrive"


def test_a_phone_and_the_rules_of_access(shown: Shown, browser: Browser) -> None:
    page = shown.page
    with watched(browser, PHONE, touch=True, bypass_csp=True) as context:
        tab = context.context.new_page()
        tab.goto(page.link())
        for address, text in (
            ("/", "Looked at"), ("/jobs", "completed"), ("/policies", "Backs up"), ("/storage", "16.0 MiB"),
            ("/alerts", "overdue"),
        ):  # fmt: skip
            tab.goto(page.origin + address)
            expect(tab.locator("main")).to_contain_text(text)
            if address in ("/", "/jobs", "/storage"):  # those of the others are the same elements
                assert broken_rules(tab) == [], address
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), address


def test_a_vault_that_is_away_and_comes_back(
    tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "AFTER_FAILURE", 0.1)
    world = World(tmp_path)
    opened = world.opened()
    world.remote.away.reachable = False
    with page_of(opened) as page, watched(browser) as context:
        context.expected += ["503"]
        tab = context.context.new_page()
        tab.goto(page.link())
        main = tab.locator("main")
        expect(main.get_by_role("alert")).to_contain_text("Nothing is known yet")
        world.remote.away.reachable = True
        expect(main).to_contain_text("Nothing has been backed up into this vault yet", timeout=60_000)
        expect(main.get_by_role("alert")).to_have_count(0)
