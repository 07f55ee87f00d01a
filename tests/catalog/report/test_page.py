"""The page: whole, harmless, and alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from catalog.alerts.state import Alert
from catalog.notify.event import Severity
from catalog.report.page import page_of
from catalog.report.series import series_of, summarise
from tests.catalog.report.records import DAY, NOW, month, plans

HOSTILE = "<script>alert(1)</script>\x1b\"'&<b>"
_EMPTY = {"meta", "br"}


class Page(HTMLParser):
    """Checks that tags are closed, and collects them and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def page(name: str = "home", machine: str = "SRV01", days: int = 30) -> tuple[str, Page]:
    rows = [summarise(one, NOW - days * DAY, NOW) for one in series_of([plans(name, machine)], month(name), NOW)]
    alert = Alert(
        id="backup.killed",
        severity=Severity.CRITICAL,
        title=name,
        text=name,
        machine_name=machine,
        opened=NOW - DAY,
    )
    text = page_of(rows, [alert], NOW - days * DAY, NOW, machine)
    return text, Page(text)


def test_it_shows_runs_sizes_and_faults() -> None:
    _text, made = page()
    assert made.tags.count("rect") == 120 and made.tags.count("polyline") == 2
    for words in ("Something needs you.", "OVERDUE", "on battery", "/home/b/\ufffd<b>.db", "can't be reached"):
        assert words in made.text


def test_names_add_no_markup() -> None:
    text, made = page(HOSTILE, HOSTILE)
    assert "script" not in made.tags and "b" in made.tags and "\x1b" not in text
    assert made.tags.count("b") == page()[1].tags.count("b")


def test_nothing_is_loaded_from_elsewhere() -> None:
    text, made = page()
    assert not {"script", "link", "img", "iframe", "object", "form", "a"} & set(made.tags)
    assert not re.search(r"url\(|@import|https?:(?!//acme\.blob)", text)
    assert "default-src 'none'" in text


def test_a_report_without_runs() -> None:
    made = Page(page_of([], [], NOW - DAY, NOW, "SRV01"))
    assert "Nothing ran, and nothing is planned." in made.text
    rows = [summarise(one, NOW - DAY, NOW) for one in series_of([plans()], [], NOW)]
    assert "No runs in this time." in Page(page_of(rows, [], NOW - DAY, NOW, "SRV01")).text


def test_many_runs_stay_a_small_page() -> None:
    runs = [ran for n in range(100) for ran in month()]
    rows = [summarise(one, 0, NOW) for one in series_of([plans()], runs, NOW)]
    text = page_of(rows, [], 0, NOW, "SRV01")
    Page(text)
    assert len(text) < 600_000
