"""A restic repository in a local folder, served over HTTP with a delay on each request: a store far away.

Speaks what restic's REST backend asks of a server (REST API version 2, as restic's documentation describes it):
objects by type and name, ranges, listings. For measuring on this machine only; it checks nothing.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, root: Path, delay: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.delay = root, delay
        self.requests = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *args: Any) -> None:
        pass

    def _place(self) -> Path:
        parts = [p for p in self.path.partition("?")[0].split("/") if p]
        if len(parts) == 2 and parts[0] == "data":
            parts.insert(1, parts[1][:2])
        return self.server.root.joinpath(*parts)

    def _wait(self) -> None:
        time.sleep(self.server.delay)
        self.server.requests += 1

    def _answer(self, status: int, body: bytes = b"", kind: str = "application/octet-stream") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self._wait()
        place = self._place()
        if not place.is_file():
            self._answer(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(place.stat().st_size))
        self.end_headers()

    def do_GET(self) -> None:
        self._wait()
        place = self._place()
        if self.path.endswith("/"):
            files = [p for p in place.rglob("*") if p.is_file()]
            rows = [{"name": p.name, "size": p.stat().st_size} for p in files]
            self._answer(200, json.dumps(rows).encode(), "application/vnd.x.restic.rest.v2")
        elif not place.is_file():
            self._answer(404)
        elif asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            with place.open("rb") as file:
                file.seek(int(first))
                self._answer(206, file.read(int(last) - int(first) + 1 if last else -1))
        else:
            self._answer(200, place.read_bytes())

    def do_POST(self) -> None:
        self._wait()
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        place = self._place()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        self._answer(200)

    def do_DELETE(self) -> None:
        self._wait()
        self._place().unlink(missing_ok=True)
        self._answer(200)


class Far:
    """A running server: its address for restic, and the number of requests so far."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self.address = f"rest:http://127.0.0.1:{server.server_address[1]}/"

    @property
    def requests(self) -> int:
        return self._server.requests


@contextmanager
def serving(repository: Path, delay: float) -> Iterator[Far]:
    """Serve a repository while the context lasts; `delay` in seconds."""
    server = _Server(repository, delay)
    thread = threading.Thread(target=server.serve_forever, name="far", daemon=True)
    thread.start()
    try:
        yield Far(server)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
