"""Serves the page until it is stopped."""

from __future__ import annotations

import socket

import uvicorn

from mount.browse.api.context import Context
from mount.browse.server.app import page_app

GRACE = 3  # seconds for requests that run when the server stops


class _Server(uvicorn.Server):
    """Ends the streams of events before it waits for requests to end: they would never do so of themselves."""

    def __init__(self, config: uvicorn.Config, context: Context) -> None:
        super().__init__(config)
        self._context = context

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._context.opened.bus.close()
        await super().shutdown(sockets)


def server(context: Context) -> uvicorn.Server:
    """The server of a page, which `serve` runs. It never asks what other modules are installed."""
    return _Server(
        uvicorn.Config(
            page_app(context), loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None,
            access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=GRACE,
            h11_max_incomplete_event_size=64 << 10,
        ),
        context,
    )  # fmt: skip


def serve(context: Context, sockets: list[socket.socket]) -> None:
    """Serve until a signal ends it."""
    server(context).run(sockets=sockets)


def link(context: Context, sockets: list[socket.socket]) -> str:
    """A link that opens the page once."""
    port = sockets[0].getsockname()[1]
    return f"http://127.0.0.1:{port}/#t={context.sessions.new_token()}"
