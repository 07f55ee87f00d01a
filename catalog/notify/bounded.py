"""Connections to servers that may hang, dribble or never stop: each has an end."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType

STEP, WHOLE = 10.0, 30.0  # s: until a single read or write has to go on, and until the whole exchange is over


class Undelivered(Exception):
    """A target did not take a message. The text says why, for people; it may quote the target's secrets.

    `refused`: the target works, and will not take this message, whenever it comes.
    """

    def __init__(self, why: str, *, refused: bool = False) -> None:
        super().__init__(why)
        self.refused = refused


class Deadline:
    """Ends the connections that it watches when its time is over: reads and writes on them then fail at once.

    A server that sends a byte every few seconds would otherwise hold an exchange for ever.
    """

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(WHOLE, self._end)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self.over = False

    def watch(self, connection: socket.socket) -> None:
        """Have a connection ended in time. A duplicate is kept: TLS takes the original over."""
        with self._lock:
            copy = connection.dup()
            self._sockets.append(copy)
            if self.over:
                _shut(copy)

    def _end(self) -> None:
        with self._lock:
            self.over = True
            for copy in self._sockets:
                _shut(copy)

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for copy in self._sockets:
                copy.close()
            self._sockets.clear()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def words_of(error: BaseException) -> str:
    """A failure of the network as a short phrase."""
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, socket.gaierror):
        return "its name is not known, or there is no network"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"[:300]
