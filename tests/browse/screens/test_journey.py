"""The 3 a.m. journey: from the link to the bytes on the disk, by keys alone, and by touch on a phone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, expect
from playwright.sync_api import Page as Tab

from tests.browse.screens.conftest import Lived, enter
from tests.kit.browser import PHONE, Watched, watched
from tests.kit.browsing import Page
from tests.kit.cli import Cli

FOCUSED = """() => {
    const one = document.activeElement;
    return [one.getAttribute("aria-label"), one.labels?.[0]?.innerText, one.innerText].join(" ");
}"""


def same(one: Path, other: Path) -> str:
    """What `diff -r` says of two folders; nothing if they are the same."""
    command: list[str | Path] = ["diff", "-r", "--no-dereference", one, other]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def tab_to(tab: Tab, words: str) -> None:
    """Press Tab until what has the focus shows these words, or is labelled so."""
    for _ in range(60):
        tab.keyboard.press("Tab")
        if words in tab.evaluate(FOCUSED):
            return
    raise AssertionError(f"no Tab leads to {words}")


def test_a_file_is_found_by_keys_and_comes_back(lived: Lived, page: Page, desk: Watched, tmp_path: Path) -> None:
    """It was deleted before the last backup: it is found over all points, restored, and compared."""
    desk.expected.append("404")  # the folder to restore into, which isn't there yet
    tab = enter(page, desk, "/calendar")
    tab.keyboard.press("/")
    expect(tab.get_by_label("Name, or part of a path")).to_be_focused()
    tab.keyboard.type("PRECIOUS*")
    tab.keyboard.press("Enter")
    expect(tab.locator("[data-state=done]")).to_be_visible()
    hit = tab.locator(".hits [data-row]")
    expect(hit).to_have_count(1)
    expect(hit).to_contain_text("in 2 points")
    tab_to(tab, "precious.txt")
    tab.keyboard.press("v")
    expect(tab.get_by_role("heading", name="Versions of")).to_be_visible()
    expect(tab.locator(".versions [data-row]")).to_have_count(1)
    tab.keyboard.press("]")
    expect(tab.locator(".versions [data-first]")).to_be_focused()
    tab.keyboard.press("r")
    expect(tab.get_by_role("heading", name="What")).to_be_visible()
    tab_to(tab, "Back in place")
    tab.keyboard.press("ArrowDown")
    expect(tab.get_by_label("Folder to restore into")).to_be_focused()
    target = tmp_path / "new folder"
    tab.keyboard.type(str(target))
    expect(tab.locator("#target-words")).to_contain_text("will be made")
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("heading", name="The plan")).to_be_focused()
    expect(tab.locator(".counts")).to_contain_text("1 file, 293.0 KiB: 1 new")
    expect(tab.locator(".paths li")).to_have_text([f"{target}/precious.txt new"])
    assert not target.exists()
    tab_to(tab, "Restore 1 file")
    tab.keyboard.press("Enter")
    heading = tab.get_by_role("heading", name="Restored")
    expect(heading).to_be_focused()
    expect(tab.locator(".copyable code").first).to_have_text(str(target))
    assert (target / "precious.txt").read_bytes() == (lived.kept / "precious.txt").read_bytes()


# Found by Python at its start: the first file that a restore begins waits until HOLD is gone.
HOLDING = """
import os, sys, time
def hook(event, args):
    if event == "open" and b".part" in os.fsencode(args[0] if isinstance(args[0], (str, bytes)) else b""):
        while os.path.exists(os.environ["HOLD"]):
            time.sleep(0.01)
if "mount.browse.running.child" in " ".join(sys.orig_argv):
    sys.addaudithook(hook)
"""


@contextmanager
def served(cli: Cli, hold: Path) -> Iterator[str]:
    """The real command, and the link that it prints; killed in the end."""
    environ = {**cli.environ, "HOLD": str(hold), "PYTHONPATH": f"{hold.parent}:{cli.environ['PYTHONPATH']}"}
    with subprocess.Popen(
        cli.command("browse", "--json"), env=environ, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.kill()


def test_a_folder_comes_back_by_touch_though_page_and_server_end(
    lived: Lived, browser: Browser, tmp_path: Path
) -> None:
    """From the day in the calendar to the folder as it was then; what is in the target already is kept.

    The tab is closed and the server killed while the restore is at its first file: it goes on.
    """
    (tmp_path / "sitecustomize.py").write_text(HOLDING)
    hold, target = tmp_path / "hold", tmp_path / "back"
    hold.touch()
    (target / "docs").mkdir(parents=True)
    (target / "docs" / "report.txt").write_text("mine")
    with served(lived.cli, hold) as link, watched(browser, PHONE, touch=True) as phone:
        tab = phone.context.new_page()
        tab.goto(link.replace("/#", f"/calendar?day={lived.first}#"))
        tab.locator("#day-points [data-first]").tap()
        for name in lived.source.parts[1:]:
            tab.get_by_role("link", name=name, exact=True).last.tap()
            # Else the next tap may be for the way to the folder before, which goes under the finger.
            expect(tab.get_by_role("navigation", name="Path").get_by_role("link").last).to_have_text(name)
        tab.get_by_role("row", name="docs").tap(position={"x": 250, "y": 40})
        tab.get_by_role("button", name="More about docs").tap()
        tab.get_by_role("link", name="Restore…").tap()
        tab.get_by_label("Into a folder").tap()
        tab.get_by_label("Folder to restore into").fill(str(target))
        tab.get_by_role("button", name="Show the plan").tap()
        expect(tab.get_by_role("heading", name="The plan")).to_be_visible()
        expect(tab.locator(".counts")).to_contain_text("1 as copies beside existing ones")
        tab.get_by_role("button", name="Restore 4 files").tap()
        expect(tab.get_by_text("You may close this page")).to_be_visible()
        assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        address = tab.url
    assert not list(target.rglob("*.txt"))[1:]
    hold.unlink()
    with served(lived.cli, hold) as link, watched(browser) as desk:
        tab = desk.context.new_page()
        tab.goto(link.replace("/#", f"{urlsplit(address).path}#"))
        expect(tab.get_by_role("heading", name="Restored")).to_be_visible()
        expect(tab.locator(".copyable code").first).to_have_text(str(target))
    copy = next((target / "docs").glob("report (*).txt"))
    assert (target / "docs" / "report.txt").read_text() == "mine"
    copy.replace(target / "docs" / "report.txt")
    assert same(target / "docs", lived.kept) == ""
