"""One stream of events for each open tab: what has changed, so that the tab asks for what it shows (HTML, 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mount.browse.api.answers import context, session_of
from mount.browse.api.context import Context
from mount.browse.resources.bus import Subscription

PING = 15.0  # seconds of silence, at most: proxies end what says nothing
_PAUSE = 0.25  # seconds between two batches
_LOOK = 1.0  # seconds after which it is seen that a session has ended
_AGAIN = 2000  # milliseconds after which a tab comes back when the connection breaks,
_LATER = 20_000  # and when its stream was ended for another tab's

_encode = msgspec.json.Encoder().encode


async def events(request: Request) -> Response:
    here, session = context(request), session_of(request)
    loop, woken = asyncio.get_running_loop(), asyncio.Event()
    subscriber = here.opened.bus.subscribe(
        lambda: loop.call_soon_threadsafe(woken.set), request.headers.get("last-event-id", "")[:100], session.id
    )
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _stream(here, session.id, subscriber, woken), headers=headers, media_type="text/event-stream"
    )


async def _stream(
    here: Context, session: str, subscriber: Subscription, woken: asyncio.Event
) -> AsyncIterator[bytes]:
    """The blocks of the stream. Each has the mark from which the tab goes on if the connection breaks."""
    loop = asyncio.get_running_loop()
    with subscriber:
        mark = subscriber.mark()
        yield b"retry: %d\n" % _AGAIN + (b"id: %b\n\n" % mark.encode() if mark else b"\n")
        spoken = loop.time()
        while not subscriber.closed and here.sessions.is_open(session):
            batch = subscriber.take()
            if batch is not None:
                head = b"id: %b\ndata: " % batch.mark.encode()
                yield b"".join(head + _encode(notice) + b"\n\n" for notice in batch.notices)
                spoken = loop.time()
                await asyncio.sleep(_PAUSE)
                continue
            if loop.time() - spoken >= PING:
                yield b": nothing new\n\n"
                spoken = loop.time()
            woken.clear()
            if not subscriber.waiting:
                try:
                    await asyncio.wait_for(woken.wait(), _LOOK)
                except TimeoutError:
                    continue
        yield b"retry: %d\n\n" % _LATER


routes = [Route("/events", events, methods=["GET"])]
