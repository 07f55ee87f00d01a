"""HTTP on one connection: uvicorn's, for this user only, with a time for each request's head, and a number of them.

uvicorn waits for ever for a head that arrives byte by byte, which would let anybody hold all connections. And the
cookies of a host go to all its ports: a page that another user of this machine serves at another port would get
ours. So a connection over loopback has to be of this user, where the system says whose it is.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mount.browse.guard.headers import guarded
from mount.browse.server.peers.base import Ends, Peers
from mount.browse.server.peers.this import PEERS

HEAD_SECONDS = 10.0  # from the connection, or the first byte of the next request, to the end of a head
MOST_CONNECTIONS = 256
MOST_FOREIGN = 16  # of other users, beside those: they only hear that they are refused
MOST_HEAD = 128 << 10  # bytes: the path of an entry may have 64 KiB


class PatientProtocol(H11Protocol):
    """A connection whose client has HEAD_SECONDS for the head of each request."""

    head_seconds = HEAD_SECONDS
    most_connections = MOST_CONNECTIONS
    most_foreign = MOST_FOREIGN
    is_foreign = False
    peers: Peers = PEERS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        ends = _loopback(self.client, self.server)
        self.is_foreign = ends is not None and self.peers.is_foreign(ends)
        like_this = sum(getattr(one, "is_foreign", False) == self.is_foreign for one in self.connections)
        if like_this > (self.most_foreign if self.is_foreign else self.most_connections):
            transport.abort()
            return
        if self.is_foreign:
            self.app = _foreign
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_answering():
            self._stop_waiting()
        elif not self.transport.is_closing():
            self._await_head()

    def on_response_complete(self) -> None:
        self._stop_waiting()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, with the headers that every answer has, and end the connection."""
        self._stop_waiting()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        body = b"rpdrive: this is not HTTP\n"
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]  # fmt: skip
        parts = (
            h11.Response(status_code=400, headers=guarded(headers, None), reason=b"Bad Request"),
            h11.Data(data=body), h11.EndOfMessage(),
        )  # fmt: skip
        self.transport.write(b"".join(self.conn.send(part) or b"" for part in parts))
        self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.head_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if not self._is_answering():
            self.transport.abort()


def _loopback(client: tuple[str, int] | None, server: tuple[str, int | None] | None) -> Ends | None:
    """The ends of a connection of this machine with itself; None if it is another, or at a Unix socket."""
    if client is None or server is None or server[1] is None:
        return None
    if not all(one[0] == "::1" or one[0].startswith("127.") for one in (client, server)):
        return None
    return Ends(client, (server[0], server[1]))


async def _foreign(_scope: Any, _receive: Any, send: Any) -> None:
    """Refuse all requests of a connection that another user made."""
    body = (
        b"rpdrive: this page is for the user who started it, and this connection is another user's; start a page "
        b"of your own, or forward with `ssh -L` as that user\n"
    )
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": 403, "headers": guarded(headers, None)})
    await send({"type": "http.response.body", "body": body})
