"""The page opens by its link, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.kit.browser import broken_rules, watched
from tests.kit.browsing import Page, opened_vault, page_of
from tests.kit.cli import Cli


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("start")
    cli = Cli(folder)
    source = folder / "source"
    source.mkdir()
    (source / "a.txt").write_text("hello")
    cli.ok("vault", "create")
    cli.ok("backup", source)
    with page_of(opened_vault(cli.home, cli.vault)) as found:
        yield found


def test_without_a_session_nothing_is_said(page: Page) -> None:
    answer = page.request("GET", "/api/v1/session")
    assert answer.status == 401
    assert answer.json["kind"] == "Locked"


def test_a_session_knows_its_vault(page: Page) -> None:
    assert page.get("/session")["vault"]["id"] == page.opened.vault.id.hex()


def test_the_link_opens_the_page_once(page: Page, browser: Browser) -> None:
    link = page.link()
    with watched(browser, bypass_csp=True) as first:
        tab = first.context.new_page()
        tab.goto(link.replace("/#", "/about#"))
        expect(tab.get_by_role("heading", name="About")).to_be_visible()
        assert "#" not in tab.url
        assert broken_rules(tab) == []
    with watched(browser) as second:
        second.expected.append("403")
        tab = second.context.new_page()
        tab.goto(link)
        expect(tab.get_by_role("alert")).to_contain_text("this link was used before")
