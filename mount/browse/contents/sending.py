"""Sends a download: one piece is read while the one before is sent, and no more.

A browser that goes away ends the reading at once. If the rest can't be had, the connection ends before its length
is reached, so that no short file passes for a whole one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import TypeVar

from starlette.types import Receive, Send

from catalog.errors import RpdriveError
from mount.browse.resources.streams import Stream

STALLED = 600.0  # seconds for a piece; a browser that takes longer can go on later
T = TypeVar("T")
_log = logging.getLogger("rpdrive.browse")


class Gone:
    """Notices that the browser goes away. To be entered; `is_set` may be asked by any thread."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._event = threading.Event()
        self.is_set = self._event.is_set

    async def __aenter__(self) -> Gone:
        self._task = asyncio.create_task(self._wait())
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._event.set()  # whatever ends this request: nobody waits for its bytes
        self._task.cancel()

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._event.set()


async def run(pool: Executor, function: Callable[[], T]) -> T:
    """The result of a function that reads, in a thread of `pool`."""
    return await asyncio.get_running_loop().run_in_executor(pool, function)


class Pieces:
    """The pieces of a download, read in threads of `pool`, the next one ahead of need."""

    def __init__(self, pool: Executor, parts: Iterator[bytes]) -> None:
        self._pool, self._parts = pool, parts
        self._next = self._read()

    async def take(self) -> bytes:
        """The next piece; empty at the end. Raises what reading it raises."""
        piece = await self._next
        if piece:
            self._next = self._read()
        return piece

    def _read(self) -> asyncio.Future[bytes]:
        future = asyncio.get_running_loop().run_in_executor(self._pool, next, self._parts, b"")
        future.add_done_callback(_looked_at)
        return future


def _looked_at(future: asyncio.Future[bytes]) -> None:
    """So that asyncio does not report an error of a piece that nobody waits for any more."""
    if not future.cancelled():
        future.exception()


async def send_pieces(send: Send, pieces: Pieces, first: bytes, stream: Stream, gone: Gone) -> None:
    """Send the body of an answer whose head is sent. If not all of it can be, the server ends the connection."""
    piece = first
    try:
        while piece:
            async with asyncio.timeout(STALLED):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            if gone.is_set():
                stream.end("stopped")
                return
            stream.count(len(piece))
            piece = await pieces.take()
    except RpdriveError as e:
        _log.warning("a download of %s was cut: %s", stream.row.name, e)
        stream.end("cut", str(e))
        return
    except (TimeoutError, ConnectionError):  # the browser stalls; or the guard has ended its session
        stream.end("stopped")
        return
    if stream.row.sent == stream.row.end:
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        stream.end("done")
    else:
        stream.end("cut", "it ended early")
