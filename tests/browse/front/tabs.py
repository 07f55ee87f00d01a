"""What the tests of the folder screen do again and again."""

from __future__ import annotations

from playwright.sync_api import Page as Tab
from playwright.sync_api import expect

from tests.browse.front.vault import Shown
from tests.kit.browser import Watched

ROWS = "[role=row][data-index]"


def opened(front: Shown, watch: Watched, path: str) -> Tab:
    """A tab with a session of its own, at an address of the page."""
    tab = watch.context.new_page()
    tab.goto(front.page.link().replace("/#", f"{path}#"))
    return tab


def active(tab: Tab, name: str) -> None:
    """Wait until the row of this name is the active one, and has the focus."""
    expect(tab.locator(f"{ROWS}[tabindex='0']")).to_contain_text(name)
    expect(tab.locator(f"{ROWS}:focus")).to_contain_text(name)


def rows(tab: Tab) -> int:
    """The number of rows in the document."""
    return tab.locator("[role=row]").count()


def overflow(tab: Tab) -> int:
    """By how many pixels the page is wider than the window."""
    found = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert isinstance(found, int)
    return found
