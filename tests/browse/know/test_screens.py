"""The five screens, in a browser: what each says, also of a vault that is empty, hostile or away."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Route, expect

from catalog.errors import AccessDenied, LocalError, NotFound, UsageError
from catalog.format.records import Outcome, Problem
from mount.browse.resources import backups as backups_module
from mount.browse.resources import looks
from mount.browse.resources.backups import BackupRow, backups_of
from mount.browse.resources.health import health
from tests.browse.know.worlds import DAY, HOUR, PATIENCE, World
from tests.kit.browser import PHONE, broken_rules, watched
from tests.kit.browsing import Page, opened_vault, page_of
from tests.kit.cli import Cli

# The frame draws itself, as it does when something in it changes. Returns what the screen then goes by.
DRAWN_AGAIN = """async () => {
    const frame = document.querySelector("rp-app");
    frame.requestUpdate();
    await frame.updateComplete;
    return document.querySelector("rp-home").url.search;
}"""
# More is typed while the frame gives the screen the address with what was typed. Keeps what is then shown.
TYPED_ON = """(text) => addEventListener("rp-route", () => {
    const box = document.activeElement;
    box.value = text;
    box.dispatchEvent(new Event("input", {bubbles: true}));
    setTimeout(() => (window.kept = box.value), 100);
}, {once: true})"""
# Who types leaves at once. Returns the address when what was typed would have been looked for.
TYPED_AND_LEFT = """async () => {
    document.activeElement.value = "srv02";
    document.activeElement.dispatchEvent(new Event("input", {bubbles: true}));
    document.querySelector("a[href='/jobs']").click();
    await new Promise((late) => setTimeout(late, 400));
    return location.pathname + location.search;
}"""
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
        tab = context.enter(page.link())
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
        assert tab.evaluate(DRAWN_AGAIN) == "?filter=srv01"
        address = main.get_by_role("region", name="srv01").get_by_role("definition").first.get_by_role("link")
        assert re.fullmatch("/point/[0-9a-f]{32}", address.get_attribute("href") or "")

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
        assert picture.evaluate("i => i.naturalWidth") == 960
        tab.get_by_role("combobox", name="By").select_option("machine")
        expect(main.get_by_role("row", name="srv01")).to_contain_text("12.0 MiB")
        tab.get_by_role("link", name="Alerts").click()
        expect(main).to_contain_text("backup is overdue")
        assert tab.title() == "Alerts \u2013 rpdrive"


def test_what_comes_late_disturbs_nobody(shown: Shown, browser: Browser) -> None:
    page = shown.page
    with watched(browser) as context:

        def in_parts(route: Route) -> None:
            answer = route.fetch(url=re.sub("[?&]cursor=[^&]*", "", route.request.url))
            older = "cursor" in route.request.url
            route.fulfill(response=answer, json=answer.json() | {"next": None if older else "more"})

        tab = context.enter(page.link())
        box = tab.get_by_label("Name")
        tab.evaluate(TYPED_ON, "srv01")
        box.fill("srv")
        expect(tab).to_have_url(f"{page.origin}/?filter=srv01")
        expect(box).to_be_focused()
        assert tab.evaluate("kept") == "srv01"
        assert tab.evaluate(TYPED_AND_LEFT) == "/jobs"
        tab.route("**/jobs?*", in_parts)
        tab.goto(f"{page.origin}/jobs")
        rows = tab.locator("tbody tr")
        expect(rows).to_have_count(13)
        tab.get_by_role("button", name="Older jobs").press("Enter")
        expect(rows).to_have_count(26)
        expect(rows.nth(13).get_by_role("link")).to_be_focused()


def test_a_phone_and_the_rules_of_access(shown: Shown, browser: Browser) -> None:
    page = shown.page
    with watched(browser, PHONE, touch=True, bypass_csp=True) as context:
        tab = context.enter(page.link())
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
        tab = context.enter(page.link())
        main = tab.locator("main")
        expect(main.get_by_role("alert")).to_contain_text("Nothing is known yet")
        world.remote.away.reachable = True
        expect(main).to_contain_text("Nothing has been backed up into this vault yet", timeout=60_000)
        expect(main.get_by_role("alert")).to_have_count(0)


# --- back up now ----------------------------------------------------------------------------------------------


class Planned(NamedTuple):
    cli: Cli
    item: str


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planned]:
    """A machine with a plan, and the vault's key saved, as this process's environment says."""
    cli = Cli(tmp_path_factory.mktemp("planned"))
    source = cli.home.parent / "source"
    source.mkdir()
    (source / "a.txt").write_text("hello")
    cli.ok("vault", "create")
    cli.ok("vault", "unlock", "--save")
    cli.ok("plan", "set", source, "--item", "source", "--at", "21:00")
    (row,) = cli.json("plan", "list")["plans"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RPDRIVE_HOME", cli.environ["RPDRIVE_HOME"])
        patch.delenv("RPDRIVE_PASSPHRASE", raising=False)
        yield Planned(cli, row["item_id"])


def ended(row: BackupRow) -> None:
    """Wait for the end of the backups that were begun."""
    for thread in threading.enumerate():
        if thread.name == "backup":
            thread.join(PATIENCE)
            assert not thread.is_alive(), row


def test_an_item_of_this_machine_is_backed_up_from_the_page(planned: Planned, browser: Browser) -> None:
    opened = opened_vault(planned.cli.home, planned.cli.vault)
    with page_of(opened) as page, watched(browser) as context:
        tab = context.enter(page.link())
        main = tab.locator("main")
        expect(main.locator(".item .state.unknown")).to_have_text("nothing yet")
        main.get_by_role("button", name="Back up source now").click()
        expect(main.get_by_text("It was backed up at your word")).to_be_visible(timeout=60_000)
        (point,) = planned.cli.json("points")["points"]
        assert point["item_id"] == planned.item
        (row,) = backups_of(opened).rows()
        assert (row.state, row.error) == ("done", "")


def test_not_twice_at_once(planned: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is one that waits for the test, in place of a backup that takes long."""
    opened = opened_vault(planned.cli.home, planned.cli.vault)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr(backups_module, "main_command", lambda _module: ["/bin/sh", "-c", f"cat < '{pipe}'", "sh"])
    backups = backups_of(opened)
    first = backups.begin(planned.item)
    assert first.state == "running"
    with pytest.raises(UsageError, match="already"):
        backups.begin(planned.item)
    pipe.write_bytes(b"")
    ended(first)
    assert backups.rows()[0].state == "done"
    again = backups.begin(planned.item)
    pipe.write_bytes(b"")
    ended(again)
    opened.close()


def test_what_goes_wrong_is_said(planned: Planned) -> None:
    opened = opened_vault(planned.cli.home, planned.cli.vault)
    backups = backups_of(opened)
    source = planned.cli.home.parent / "source"
    source.rename(source.with_name("elsewhere"))
    row = backups.begin(planned.item)
    ended(row)
    (row,) = backups.rows()
    assert row.state == "failed" and "source" in row.error, row
    assert health(opened).backups == [row]
    for bad in ("", "../../x", "ab" * 16):
        with pytest.raises(NotFound):
            backups.begin(bad)
    planned.cli.ok("vault", "lock")
    with pytest.raises(LocalError, match="not saved"):
        backups.begin(planned.item)
    opened.close()
    closed = opened_vault(planned.cli.home, planned.cli.vault, read_only=True)
    with pytest.raises(AccessDenied):
        backups_of(closed).begin(planned.item)
    assert not any(item.can_back_up for item in health(closed, wait=PATIENCE).items)
    closed.close()
