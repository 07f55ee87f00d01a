"""The stream of events: what is published is heard, and no stream keeps the server from anything."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.store.memory import MemoryStore
from mount.browse.resources.bus import OF_ONE
from tests.kit.browsing import Page, opened_as, page_of
from tests.kit.vaults import new_vault


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with page_of(opened_as(tmp_path, new_vault(MemoryStore()))) as found:
        found.enter()
        yield found


class Stream:
    """A tab that listens."""

    def __init__(self, page: Page, last: str = "") -> None:
        self._socket = socket.create_connection(("127.0.0.1", page.port), timeout=30)
        self._file = self._socket.makefile("rb")
        again = f"Last-Event-ID: {last}\r\n" if last else ""
        head = f"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nCookie: {page._cookie}\r\n"
        self._socket.sendall((head + again + "\r\n").encode())
        assert self.line().startswith("HTTP/1.1 200")
        self.head = list(iter(self.line, ""))
        self.last = ""
        self.retry = 0

    def line(self) -> str:
        return self._file.readline().decode().rstrip("\r\n")

    def event(self) -> Any:
        """The next event; None at the end of the stream."""
        while (line := self._file.readline()) not in (b"", b"0\r\n"):  # an empty chunk is the last
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                self.last = value
            elif name == "retry":
                self.retry = int(value)
            elif name == "data":
                return json.loads(value)
        return None

    def close(self) -> None:
        self._socket.close()
        self._file.close()


def test_what_is_published_is_heard_in_order_and_once(page: Page) -> None:
    stream, other = Stream(page), Stream(page)
    assert "content-type: text/event-stream; charset=utf-8" in stream.head
    assert "cache-control: no-store" in stream.head
    bus = page.opened.bus
    for n in range(3):
        bus.publish("restore", "r")
        bus.publish("job", str(n))
    for tab in (stream, other):
        heard = []
        while {"type": "job", "id": "2"} not in heard:
            heard.append(tab.event())
        assert [e["id"] for e in heard if e["type"] == "job"] == ["0", "1", "2"]
        assert {"type": "restore", "id": "r"} in heard
    stream.close()
    other.close()
    _until(lambda: bus.subscribers == 0)


def _until(true: Any) -> None:
    deadline = time.monotonic() + 30
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert true()


def test_a_tab_that_comes_back_hears_what_it_missed(page: Page) -> None:
    bus = page.opened.bus
    first = Stream(page)
    bus.publish("drive", "1")
    assert first.event() == {"type": "drive", "id": "1"}
    first.close()
    bus.publish("drive", "2")
    again = Stream(page, first.last)
    assert again.event() == {"type": "drive", "id": "2"}
    again.close()
    unknown = Stream(page, "of-another-process\t")
    assert unknown.event() == {"type": "all", "id": ""}
    unknown.close()


def test_the_streams_of_a_session_end_with_it(page: Page) -> None:
    stream = Stream(page)
    assert page.api("DELETE", "/session").status == 204
    assert stream.event() is None
    stream.close()
    assert page.api("GET", "/events").status == 401


def test_the_oldest_of_too_many_streams_of_a_browser_ends_and_comes_back_later(page: Page) -> None:
    oldest = Stream(page)
    others = [Stream(page) for _ in range(OF_ONE)]
    assert oldest.event() is None and oldest.retry > 10_000
    for stream in (oldest, *others):
        stream.close()


def test_the_server_stops_though_tabs_listen(tmp_path: Path) -> None:
    with page_of(opened_as(tmp_path, new_vault(MemoryStore()))) as page:
        page.enter()
        stream = Stream(page)
    assert stream.event() is None
    stream.close()
