"""What a request's Host header says: which of the two origins it is for, or that it is refused.

The app and the contents of backed-up files have an origin each, so that a script in a file could do the page no
harm. On loopback they share a port: the app is at 127.0.0.1 (or [::1]), contents are at `localhost`, which is
another site with other cookies, and one `ssh -L` serves both. On a listened address contents have another port.

A name that a stranger's DNS can point at this machine is on no list, which is what stops DNS rebinding.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

_LOOPBACK = re.compile(rb"(127\.0\.0\.1|localhost|\[::1\])(?::([0-9]{1,5}))?", re.IGNORECASE)
_NAMED = re.compile(rb"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?")
_PORTS = {"http": 80, "https": 443}


class RefusedHost(Exception):
    """A Host header that is not answered. `status` is that of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Origin(NamedTuple):
    """A scheme, a host (IPv6 in brackets) and a port."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """As browsers write it: without the scheme's own port."""
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


class Site(NamedTuple):
    """Both origins as the browser of a request knows them, and which one the request is for."""

    app: Origin
    contents: Origin
    is_contents: bool

    @property
    def cookie(self) -> str:
        """The name of the session's cookie. It has the port, since cookies of one host are shared by its ports."""
        secure = self.app.scheme == "https"
        return f"{'__Host-' if secure else ''}rpdrive-{self.app.port}"


class Hosts(Protocol):
    """Decides by the Host headers of a request."""

    def site(self, values: Sequence[bytes]) -> Site:
        """What the request is for. `values`: every Host header. Raises RefusedHost."""
        ...


class LoopbackHosts:
    """The names of this machine for itself, with any port: `ssh -L` may use another one than ours."""

    def site(self, values: Sequence[bytes]) -> Site:
        found = _LOOPBACK.fullmatch(_only(values))
        if found is None:
            raise RefusedHost(403, "this page answers at 127.0.0.1, [::1] and localhost only")
        host, port = found[1].decode().lower(), _port(found[2], "http")
        contents = Origin("http", "localhost", port)
        if host == "localhost":
            return Site(Origin("http", "127.0.0.1", port), contents, True)
        return Site(Origin("http", host, port), contents, False)


class ListenedHosts:
    """One name of this machine, at which other devices reach it. Each origin has a listening socket of its own."""

    def __init__(self, app: Origin, contents: Origin, *, is_contents: bool) -> None:
        self._site = Site(app, contents, is_contents)
        self._own = contents if is_contents else app

    def site(self, values: Sequence[bytes]) -> Site:
        found = _NAMED.fullmatch(_only(values))
        if found is None or (found[1].decode().lower(), _port(found[2], "https")) != self._own[1:]:
            raise RefusedHost(403, f"this page answers at {self._own} only")
        return self._site


def _only(values: Sequence[bytes]) -> bytes:
    if len(values) != 1:
        raise RefusedHost(400, "a request needs exactly one Host header")
    return values[0]


def _port(text: bytes | None, scheme: str) -> int:
    if text is None:
        return _PORTS[scheme]
    port = int(text)
    if not 0 < port < 1 << 16:
        raise RefusedHost(400, "the Host header has no such port")
    return port
