"""Debian's Chromium, driven by Playwright. A page that logs an error, or breaks its policy, fails its test."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

expect.set_options(timeout=30_000)  # ms; a bound on a hang, on a machine that has much else to do

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
AXE = Path(__file__).parents[2] / ".tools" / "node_modules" / "axe-core" / "axe.min.js"
DESKTOP, PHONE = (1280, 800), (360, 740)


@contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    """A browser that does not hear of changes of the network. `more` are arguments of its command line."""
    path = shutil.which("chromium")
    assert path is not None, "Chromium is missing: run tests/setup.sh test"
    with TemporaryDirectory(dir="/var/tmp") as folder, sync_playwright() as playwright:
        starter = Path(folder) / "chromium"
        words = [sys.executable, "-IS", str(Path(__file__).with_name("steady_network.py")), path]
        starter.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        starter.chmod(0o755)
        browser = playwright.chromium.launch(executable_path=starter, args=[*ARGUMENTS, *more])
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A context of the browser, and what its pages complained of, but for what is `expected`."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.complaints: list[str] = []
        self.expected: list[str] = []
        context.set_default_timeout(15_000)
        context.on("page", self._watch)

    def _watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def enter(self, link: str) -> Page:
        """A tab that was let in by a link. Another address that is opened sooner would break that off."""
        tab = self.context.new_page()
        tab.goto(link)
        end = time.monotonic() + 30
        while not tab.evaluate("localStorage.getItem('rpdrive key')"):  # the other half of its session
            assert time.monotonic() < end, "the link does not let the browser in"
            tab.wait_for_timeout(20)
        return tab

    def check(self) -> None:
        left = [one for one in self.complaints if not any(part in one for part in self.expected)]
        assert left == [], left


@contextmanager
def watched(
    browser: Browser, size: tuple[int, int] = DESKTOP, *, scheme: str = "light", touch: bool = False, **more: Any
) -> Iterator[Watched]:
    """A context without cookies; at its end, its pages must not have complained."""
    options: dict[str, Any] = {
        "viewport": {"width": size[0], "height": size[1]}, "color_scheme": scheme, "has_touch": touch,
        "is_mobile": touch, "reduced_motion": "reduce", "locale": "en-GB", **more,
    }  # fmt: skip
    context = browser.new_context(**options)
    try:
        found = Watched(context)
        yield found
        found.check()
    finally:
        context.close()


def broken_rules(page: Page) -> list[str]:
    """What axe finds against WCAG 2.2 AA on a page, whose context has to be made with `bypass_csp=True`."""
    page.evaluate(AXE.read_text())
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    result = page.evaluate("tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", tags)
    return [
        f"{one['id']}: {one['help']}: {node['html'][:200]}" for one in result["violations"] for node in one["nodes"]
    ]
