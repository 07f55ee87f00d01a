"""Downloads that run, and those that ended lately: what was sent, and what went wrong.

The page shows them as jobs. They are not in the vault's records: they change nothing.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from catalog.errors import RpdriveError

State = Literal["running", "done", "cut", "stopped"]
MOST = 16  # at once, of 4 MiB of memory each
KEPT = 50  # that ended


class Busy(RpdriveError):
    """Too many downloads run at once."""

    advice = "wait until one of them has ended, and try again"


class StreamRow(msgspec.Struct):
    """A download of the bytes `start` to `end` of `total`, which has come to `sent`. Times in ns (UTC).

    `what`: inline, attachment, tar or zip. `cut`: `problem` ended it; `stopped`: the browser did.
    """

    id: str
    name: str
    what: str
    start: int
    end: int
    total: int
    started: int
    sent: int
    state: State = "running"
    problem: str | None = None
    finished: int | None = None


class Stream:
    """One running download. To be ended once."""

    def __init__(self, streams: Streams, row: StreamRow) -> None:
        self._streams, self.row = streams, row

    def count(self, size: int) -> None:
        """Note that so many more bytes were sent. Nobody is told: who shows a download asks now and then."""
        self.row.sent += size

    def end(self, state: State, problem: str | None = None) -> None:
        self._streams.ended(self, state, problem)


class Streams:
    """All downloads of this process. Thread-safe. `tell` is called with the id of one that begins or ends."""

    def __init__(self, tell: Callable[[str], object] = lambda _id: None) -> None:
        self.tell = tell
        self._lock = threading.Lock()
        self._running: dict[str, Stream] = {}
        self._ended: deque[StreamRow] = deque(maxlen=KEPT)

    def begin(self, name: str, what: str, start: int, end: int, total: int) -> Stream:
        """Count a download. Raises Busy if MOST run already."""
        stream = Stream(self, StreamRow(secrets.token_hex(8), name, what, start, end, total, time.time_ns(), start))
        with self._lock:
            if len(self._running) >= MOST:
                raise Busy(f"{MOST} downloads run at once already")
            self._running[stream.row.id] = stream
        self.tell(stream.row.id)
        return stream

    def ended(self, stream: Stream, state: State, problem: str | None) -> None:
        """What is shown inline is part of the page: it is listed only if it was cut."""
        row = stream.row
        with self._lock:
            if self._running.pop(row.id, None) is None:
                return
            row.state, row.problem, row.finished = state, problem, time.time_ns()
            if row.what != "inline" or state == "cut":
                self._ended.append(row)
        self.tell(row.id)

    def running(self) -> list[StreamRow]:
        """Those that run, the oldest first."""
        with self._lock:
            return [msgspec.structs.replace(one.row) for one in self._running.values()]

    def recent(self) -> list[StreamRow]:
        """Those that run and those that ended, the newest first."""
        with self._lock:
            rows = [*self._ended, *(one.row for one in self._running.values() if one.row.what != "inline")]
            return sorted(map(msgspec.structs.replace, rows), key=lambda row: row.started, reverse=True)
