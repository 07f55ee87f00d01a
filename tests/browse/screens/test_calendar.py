"""The calendar, by keys alone: from the month to a day's points."""

from __future__ import annotations

from datetime import date, timedelta

from playwright.sync_api import expect

from tests.browse.screens.conftest import enter
from tests.kit.browser import Watched
from tests.kit.browsing import Page


def spoken(day: date) -> str:
    return day.strftime("%A %-d %B %Y")


def month_before(day: date) -> date:
    """The same day of the month before, or its last one."""
    end = day.replace(day=1) - timedelta(1)
    return end.replace(day=min(day.day, end.day))


def test_a_day_is_found_by_keys_and_lists_its_points(page: Page, desk: Watched) -> None:
    points = page.get("/points")["points"]
    last = date.fromisoformat(points[0]["time"][:10])
    before = last - timedelta(1)
    tab = enter(page, desk, "/calendar")
    expect(tab.get_by_role("heading", name=spoken(last))).to_be_visible()
    cell = tab.get_by_role("gridcell", name=spoken(last))
    expect(cell).to_contain_text("1 recovery point, good")
    cell.focus()
    tab.keyboard.press("PageUp")
    expect(tab.get_by_role("gridcell", name=spoken(month_before(last)))).to_be_focused()
    expect(tab.get_by_role("heading", name=month_before(last).strftime("%B %Y"))).to_be_visible()
    for _ in range((before - month_before(last)).days):
        tab.keyboard.press("ArrowRight")
    expect(tab.get_by_role("gridcell", name=spoken(before))).to_be_focused()
    tab.keyboard.press("Enter")
    row = tab.locator("#day-points [data-row]")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("4 files")
    expect(row.get_by_role("link", name="Compare with the one before")).to_be_visible()
    expect(row.locator("[data-first]")).to_be_focused()
    assert f"day={before}" in tab.url
    tab.get_by_label("Machine and item").select_option(index=1)
    expect(tab.get_by_role("heading", name=spoken(last))).to_be_visible()
