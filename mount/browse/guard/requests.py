"""What is refused of a request before anybody routes it: its form, its method, where it comes from. All pure."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from mount.browse.guard.hosts import Site

API = "/api/"
CONTENTS = "/c/"  # then the link's payload and seal, and a name
ENTER = "/api/v1/session"  # a POST to it is the only request to the API without a session
KEY = b"x-rpdrive-key"  # the header with the other half of a session
# What browsers ask for by themselves, without that header: none of it has contents, names of files, or a write.
BY_COOKIE = frozenset({"/api/v1/events", "/api/v1/storage/chart.svg", "/api/v1/openapi.json"})
UNATTENDED = b"x-rpdrive-unattended"  # a screen asks by itself, and nobody is in front of it
MOST_BODY = 256 << 10  # bytes
_READS, _WRITES = ("GET", "HEAD"), ("POST", "DELETE")
_HIDDEN = re.compile(rb"%(?:2f|5c|00)|\\", re.IGNORECASE)  # would be one path for us and another for somebody else
_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")
# Writes that begin or end what only the page has: its sessions, links to contents, and searches.
_HARMLESS = re.compile(r"/api/v1/(?:session(?:/link)?|points/[^/]+/link|basket/link|searches(?:/[^/]+)?)")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_JSON = re.compile(rb"application/json(?:\s*;\s*charset=\"?utf-8\"?)?", re.IGNORECASE)


class Refusal(Exception):
    """An answer of the guard. `status` is that of HTTP; `kind` and `advice` are for the page."""

    def __init__(self, status: int, kind: str, message: str, advice: str = "", *, allow: str = "") -> None:
        super().__init__(message)
        self.status, self.kind, self.advice, self.allow = status, kind, advice, allow
        self.wait: int | None = None  # seconds, for Retry-After


class Asked(NamedTuple):
    """A request's method, path, and headers by lower-case name: every value of each."""

    method: str
    path: str
    headers: Mapping[bytes, list[bytes]]

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> Asked:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(bytes(name).lower(), []).append(bytes(value))
        return cls(scope["method"], scope["path"], headers)

    @property
    def is_api(self) -> bool:
        return self.path.startswith(API)

    @property
    def is_write(self) -> bool:
        return self.method in _WRITES

    @property
    def has_body(self) -> bool:
        """Whether the headers announce a body."""
        return b"transfer-encoding" in self.headers or self.headers.get(b"content-length", [b"0"]) != [b"0"]

    def cookies(self, name: str) -> list[str]:
        """The values of all cookies of this name, at most 8: another port of the host may have set some."""
        found = []
        for line in self.headers.get(b"cookie", ()):
            for part in line.decode("latin-1").split(";"):
                key, equals, value = part.strip().partition("=")
                if equals and key == name:
                    found.append(value)
        return found[:8]


def check_key(asked: Asked, key: str) -> bool:
    """Whether a request has the key of its session, or needs none."""
    values = asked.headers.get(KEY, [])
    if not values and not asked.is_write and asked.path in BY_COOKIE:
        return True
    return len(values) == 1 and hmac.compare_digest(values[0], key.encode())


def changes_machine(asked: Asked) -> bool:
    """Whether a request may change more than this page: whatever is not known to be harmless."""
    return asked.is_write and not _HARMLESS.fullmatch(asked.path)


def check_form(raw_path: bytes) -> None:
    """Refuse targets that are not a plain absolute path. Raises Refusal."""
    path = unquote_to_bytes(raw_path)
    parts = path.split(b"/")
    wrong = (
        not raw_path.startswith(b"/")
        or b"//" in path
        or _HIDDEN.search(raw_path)
        or _CONTROLS.search(path)
        or b"." in parts
        or b".." in parts
    )
    if wrong:
        raise Refusal(400, "UsageError", "the request's target is not a plain path")


def check_method(asked: Asked, site: Site) -> None:
    """Refuse methods that the origin does not have. Raises Refusal."""
    allowed = _READS + _WRITES if asked.is_api and not site.is_contents else _READS
    if asked.method not in allowed:
        raise Refusal(405, "UsageError", "this method is not allowed here", allow=", ".join(allowed))


def check_body(asked: Asked) -> None:
    """Refuse what announces too long a body, or a body where none belongs. Raises Refusal."""
    if not asked.is_write:
        if asked.has_body:
            raise Refusal(400, "UsageError", "a request that only reads has no body")
        return
    if b"content-length" in asked.headers and b"transfer-encoding" in asked.headers:
        raise Refusal(400, "UsageError", "the body has two lengths")
    lengths = asked.headers.get(b"content-length", [b"0"])
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Refusal(400, "UsageError", "the Content-Length header is malformed")
    if int(lengths[0]) > MOST_BODY:
        raise Refusal(413, "UsageError", f"the body is longer than {MOST_BODY >> 10} KiB")
    if b"content-encoding" in asked.headers:
        raise Refusal(415, "UsageError", "the body must not be compressed")


def check_source(asked: Asked, site: Site) -> None:
    """Refuse requests to the API that another page had the browser make. Raises Refusal.

    Browsers say where a request comes from in Sec-Fetch-Site, which no page can set. Where it is missing, a write
    must name our origin in Origin. A page at another port of this machine is `same-site`, and is refused too.
    """
    sources = asked.headers.get(b"sec-fetch-site", [])
    if sources:
        allowed = ([b"same-origin"],) if asked.is_write else ([b"same-origin"], [b"none"])
        if sources not in allowed:
            raise Refusal(403, "AccessDenied", "this request comes from another page")
    if not asked.is_write:
        return
    origins = asked.headers.get(b"origin", [])
    own = [str(site.app).encode()]
    if (origins or not sources) and origins != own:
        raise Refusal(403, "AccessDenied", "this request does not come from the page")
    types = asked.headers.get(b"content-type", [])
    if asked.method == "DELETE" and not types and not asked.has_body:
        return  # other pages can't send this method without asking first, and are never allowed
    if len(types) != 1 or not _JSON.fullmatch(types[0].strip()):
        raise Refusal(415, "UsageError", "the body must be application/json")
