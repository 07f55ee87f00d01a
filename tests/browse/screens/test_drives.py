"""A drive is opened on the screen, read by a program, and closed there."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browse.screens.conftest import Lived, enter
from tests.kit.browser import Watched
from tests.kit.browsing import Page


@pytest.mark.soak
@pytest.mark.needs_fuse
def test_a_drive_is_opened_read_and_closed(lived: Lived, page: Page, desk: Watched) -> None:
    oldest = page.get("/points")["points"][-1]["id"]
    tab = enter(page, desk, f"/drives?point={oldest}")
    expect(tab.get_by_text("No drive is open on this machine")).to_be_visible()
    tab.get_by_role("button", name="Open", exact=True).press("Enter")
    expect(tab.get_by_role("heading", name="The drive is open")).to_be_focused()
    place = Path(tab.locator(".copyable code").inner_text())
    kept = lived.kept / "precious.txt"
    try:
        copy = place.joinpath(*lived.source.parts[1:], "docs", "precious.txt")
        assert copy.read_bytes() == kept.read_bytes()
        with copy.open("rb"):
            desk.expected.append("500")  # it is in use
            tab.get_by_role("button", name=f"Close {place}").press("Enter")
            expect(tab.get_by_role("alert")).to_contain_text("is in use by")
            expect(tab.get_by_text("Programs that have files of it open can go on")).to_be_visible()
            tab.get_by_role("button", name="Leave it open").press("Enter")
        tab.get_by_role("button", name=f"Close {place}").press("Enter")
        expect(tab.get_by_role("heading", name="Open drives")).to_be_focused()
        expect(tab.get_by_text("No drive is open on this machine")).to_be_visible()
        assert not place.exists()
    finally:
        lived.cli.run("unmount", place)
