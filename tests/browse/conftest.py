"""What the tests of the page share."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.kit.browser import chromium


@pytest.fixture(scope="module", autouse=True)
def utc() -> Iterator[None]:
    """The time zone of this process, and of the browsers that it starts: what pages say of days depends on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of a module; each makes its own context by tests.kit.browser.watched.

    Not for longer: while Playwright runs, this thread counts as one of a loop, and `asyncio.run` fails in it.
    """
    expect.set_options(timeout=30_000)  # ms; a bound on a hang, on a machine that has much else to do
    with chromium() as found:
        yield found
