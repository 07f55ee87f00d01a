"""A way to a real HTTP server that can be broken, and that counts what goes through it."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

# busy:      503 ServerBusy, and the request does not reach the server
# throttled: 429, likewise
# lost:      the request is done, and the connection is cut before the answer
# cut:       the answer's body ends in the middle
# silent:    the request is done, and no answer comes
# portal:    200 and a page of HTML, whatever was asked, as from a hotel's network
Fault = Literal["busy", "throttled", "lost", "cut", "silent", "portal"]


class Answer(NamedTuple):
    """An answer that the server behind the proxy could not give."""

    status: int
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""


class Proxy:
    """`requests` are all that came, as (method, path with query). The next ones meet `faults`, in turn.

    A request with a method and a part of its path that `answers` has gets that answer, and goes no further.
    `note` is called with the method, path and headers of each request.
    With `copies`, the proxy does Put Block From URL itself, which Azurite can't: it reads the range and puts it.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self.target = (parts.hostname or "", parts.port or 80)
        self.path = parts.path
        self.requests: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.copies = False
        self.answers: dict[tuple[str, str], Answer] = {}
        self.note: Callable[[str, str, dict[str, str]], None] = lambda method, path, headers: None
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.endpoint = ""

    def arrived(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.requests.append((method, path))
            return self.faults.pop(0) if self.faults else None

    def answer_to(self, method: str, path: str) -> Answer | None:
        for (of, part), answer in self.answers.items():
            if of == method and part in path:
                return answer
        return None


@contextmanager
def running_proxy(target: str) -> Iterator[Proxy]:
    """A proxy for the server at `target` (http://HOST:PORT/PATH); `endpoint` is the same path through it."""
    proxy = Proxy(target)

    class Handler(_Handler):
        way = proxy

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}{proxy.path}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.ending.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    way: Proxy

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.way.note(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        fault = self.way.arrived(self.command, self.path)
        if fault == "busy":
            return self._answer(503, [("x-ms-error-code", "ServerBusy")], b"")
        if fault == "throttled":
            return self._answer(429, [], b"")
        if fault == "portal":
            return self._answer(200, [("Content-Type", "text/html")], b"<html>Please sign in</html>")
        if (told := self.way.answer_to(self.command, self.path)) is not None:
            own = [("x-ms-request-id", "0"), ("Date", formatdate(usegmt=True))]
            return self._answer(told.status, own + list(told.headers.items()), told.body)
        connection = http.client.HTTPConnection(*self.way.target, timeout=60)
        headers = dict(self.headers.items())
        try:
            if self.way.copies and (source := headers.pop("x-ms-copy-source", None)):
                parts = urlsplit(source)
                reading = {"x-ms-version": headers["x-ms-version"], "x-ms-range": headers.pop("x-ms-source-range")}
                connection.request("GET", f"{parts.path}?{parts.query}", headers=reading)
                found = connection.getresponse()
                body = found.read()
                if found.status >= 300:
                    return self._answer(found.status, [("x-ms-error-code", "CannotVerifyCopySource")], b"")
                headers["Content-Length"] = str(len(body))
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if fault == "lost":
            return self._cut()
        if fault == "silent":
            self.way.ending.wait(120)
            return self._cut()
        self._answer(answer.status, answer.getheaders(), data, cut=fault == "cut")

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        sized = False
        for name, value in headers:
            if name.lower() in ("transfer-encoding", "connection", "keep-alive"):
                continue
            sized = sized or name.lower() == "content-length"
            self.send_header(name, value)
        if not sized:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def _cut(self) -> None:
        # A reset, not an orderly end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
