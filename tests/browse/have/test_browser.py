"""Downloads in a real browser: it saves what was backed up, and is told of better ways for very much."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event

import pytest
from playwright.sync_api import Browser, expect

from mount.browse.contents import app
from mount.browse.resources import downloads
from mount.browse.resources.archives.contents import cut
from mount.browse.resources.wire import path64
from tests.browse.have.trees import BIG, Tree
from tests.kit.browser import watched
from tests.kit.browsing import opened_as, page_of
from tests.kit.drives import eventually


def test_files_folders_and_what_is_very_large(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree()
    opened = opened_as(tmp_path, tree.vault)
    with page_of(opened) as page, watched(browser, accept_downloads=True) as watch:
        tab = watch.context.new_page()
        point = tree.point.id.hex()
        tab.goto(page.link().replace("/#", f"/point/{point}/{path64(b'/home')}?row=0#"))
        tab.locator("[role=row]", has_text="big.bin").click()
        with tab.expect_download() as got:
            tab.keyboard.press("d")
        assert got.value.suggested_filename == "big.bin"
        assert Path(got.value.path()).read_bytes() == BIG
        tab.locator("[role=row]", has_text="links").click()
        with tab.expect_download() as got:
            tab.keyboard.press("d")
        assert got.value.suggested_filename == "links.tar"
        with tarfile.open(got.value.path()) as archive:
            assert archive.getnames() == ["links", "links/first", "links/second", "links/third"]

        may_go_on = Event()

        def slow(parts: Iterable[bytes], length: int) -> Iterator[bytes]:
            for part in cut(parts, length):
                yield part
                may_go_on.wait(60)

        monkeypatch.setattr(app, "cut", slow)
        monkeypatch.setattr(downloads, "LARGE_BYTES", 1 << 20)
        tab.goto(f"{page.origin}/point/{point}/{path64(b'/')}?row=0")
        tab.locator("[role=row]", has_text="home").click()
        tab.keyboard.press("d")
        dialog = tab.get_by_role("dialog", name="A large download")
        expect(dialog.get_by_role("link", name="Open a drive instead")).to_be_visible()
        with tab.expect_download() as got:
            dialog.get_by_role("button", name="Download all the same").click()
        expect(dialog).to_have_count(0)
        tab.goto(f"{page.origin}/jobs")
        running = tab.get_by_role("region", name="Downloads")
        expect(running).to_contain_text("home.tar")
        expect(running).to_contain_text("of 9.0 MiB")
        may_go_on.set()
        assert Path(got.value.path()).stat().st_size > 8 << 20
        eventually(lambda: not opened.streams.running(), "the download ends")
        expect(running).to_have_count(0)
    tree.close()


def test_a_download_that_fails_says_why_and_leaves_the_page_where_it_is(browser: Browser, tmp_path: Path) -> None:
    tree = Tree()
    opened = opened_as(tmp_path, tree.vault)
    with page_of(opened) as page, watched(browser, accept_downloads=True) as watch:
        watch.expected.append("502")  # the answer to the hidden frame
        tab = watch.context.new_page()
        tab.goto(page.link())
        expect(tab.get_by_role("heading", level=1)).to_be_visible()  # the session has begun
        told = tab.get_by_role("alert").filter(has_text="could not be downloaded")

        def fails(name: str, file: str, why: str) -> None:
            tab.locator("[role=row]", has_text=name).click()
            tab.keyboard.press("d")
            expect(told).to_contain_text(file)
            expect(told).to_contain_text(why)
            expect(tab.get_by_role("grid")).to_be_visible()
            told.get_by_role("button", name="Close").click()
            expect(told).to_have_count(0)
            expect(tab.locator("main")).to_be_focused()

        tree.spoil(b"home/big.bin")
        tab.goto(f"{page.origin}/point/{tree.point.id.hex()}/{path64(b'/home')}?row=0")
        fails("big.bin", "big.bin", "home/big.bin' can't be read")
        tree.spoil(b"home/big.bin")  # as it was
        tree.spoil(b"home/many/file-299")
        tab.goto(f"{page.origin}/point/{tree.point.id.hex()}/{path64(b'/')}?row=0")
        with tab.expect_download():  # the browser has its beginning
            fails("home", "home.tar", "home/many/file-")
    tree.close()
