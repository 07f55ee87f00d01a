"""A page in this process: its server in a thread, at real sockets, and a client that has a session."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

from catalog.access.passphrases import GivenPassphrases
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.vault import Vault
from mount.browse.api.context import Context
from mount.browse.guard.door import Door
from mount.browse.guard.hosts import LoopbackHosts
from mount.browse.resources.opened import Opened
from mount.browse.server.app import page_guard
from mount.browse.server.serving import Listener, Serving
from mount.browse.server.sockets import loopback
from tests.kit.vaults import home_of


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Page:
    """A running page. `origin` is the app's, `contents` that of file contents."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.context = Context(opened)
        self.guard = page_guard(self.context)
        found = loopback(None)
        self.port = found.port
        self.origin, self.contents = f"http://127.0.0.1:{self.port}", f"http://localhost:{self.port}"
        self._sockets = found.sockets
        self.door = Door(LoopbackHosts(), self.guard)
        self.serving = Serving(self.guard, [Listener(self.door, found.sockets)], idle=None)
        self._thread = threading.Thread(target=self.serving.run, args=(lambda: None,), name="page", daemon=True)
        self._cookie = self._key = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.serving.stop("the test is over")
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server does not stop"
        self.opened.close()

    def link(self) -> str:
        """A link that opens the page once."""
        return f"{self.origin}/#t={self.context.sessions.new_token()}"

    def request(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request, with these headers and those that http.client adds."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, target, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def enter(self) -> None:
        """Begin a session, once."""
        if not self._cookie:
            token = self.link().partition("#t=")[2]
            answer = self.api("POST", "/session", {"token": token})
            assert answer.status == 200, answer
            self._cookie, self._key = answer.headers["set-cookie"].partition(";")[0], answer.json["key"]

    def api(self, method: str, path: str, value: object = None, **params: object) -> Answer:
        """A request to the interface, as the page makes it."""
        query = urlencode({name: v for name, v in params.items() if v is not None})
        headers = {"Sec-Fetch-Site": "same-origin", "Origin": self.origin, "Content-Type": "application/json"}
        if self._cookie:
            headers |= {"Cookie": self._cookie, "X-Rpdrive-Key": self._key}
        body = None if method in ("GET", "HEAD") else json.dumps(value if value is not None else {}).encode()
        return self.request(method, f"/api/v1{path}" + (f"?{query}" if query else ""), body, headers)

    def get(self, path: str, **params: object) -> Any:
        """What the interface answers to GET. The answer has to be 200."""
        self.enter()
        answer = self.api("GET", path, **params)
        assert answer.status == 200, answer
        return answer.json

    def post(self, path: str, value: object = None) -> Any:
        """The same for POST."""
        self.enter()
        answer = self.api("POST", path, value)
        assert answer.status in (200, 201, 204), answer
        return answer.json if answer.body else None


def opened_vault(folder: Path, vault: Path, *, read_only: bool = False) -> Opened:
    """A vault in a folder, opened for a page by a user whose home is `folder`."""
    environ = home_of(folder, str(vault))
    session = Session(Settings(environ), passphrases=GivenPassphrases(environ=environ))
    return Opened(session, session.open_vault(), read_only=read_only)


def opened_as(folder: Path, vault: Vault, address: str = "file:///vault", *, read_only: bool = False) -> Opened:
    """The same for a vault that is open already, e.g. behind a meter (tests/kit/vaults.py)."""
    session = Session(Settings(home_of(folder, address)))
    session.vault = vault
    return Opened(session, vault, read_only=read_only)


@contextmanager
def page_of(opened: Opened) -> Iterator[Page]:
    with Page(opened) as page:
        yield page
