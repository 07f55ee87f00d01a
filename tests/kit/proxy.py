"""A way to a real HTTP server that can be broken, and that counts what goes through it."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

# busy:      503 ServerBusy, and the request does not reach the server
# throttled: 429, likewise
# lost:      the request is done, and the connection is cut before the answer
# cut:       the answer's body ends in the middle
# silent:    the request is done, and no answer comes
# portal:    200 and a page of HTML, whatever was asked, as from a hotel's network
Fault = Literal["busy", "throttled", "lost", "cut", "silent", "portal"]


class Proxy:
    """`requests` are all that came, as (method, path with query). The next ones meet `faults`, in turn.

    With `copies`, the proxy does Put Block From URL itself, which Azurite can't: it reads the range and puts it.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self.target = (parts.hostname or "", parts.port or 80)
        self.path = parts.path
        self.requests: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.copies = False
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.endpoint = ""

    def arrived(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.requests.append((method, path))
            return self.faults.pop(0) if self.faults else None


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
        fault = self.way.arrived(self.command, self.path)
        if fault == "busy":
            return self._answer(503, [("x-ms-error-code", "ServerBusy")], b"")
        if fault == "throttled":
            return self._answer(429, [], b"")
        if fault == "portal":
            return self._answer(200, [("Content-Type", "text/html")], b"<html>Please sign in</html>")
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
