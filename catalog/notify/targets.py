"""The kinds of targets, as `notify.toml` and the file of secrets describe them."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from catalog.errors import UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_ADDRESS = re.compile(r"[^\s<>(),;:\\\"\[\]@]{1,64}@[^\s<>(),;:\\\"\[\]@]{1,255}")
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,255}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|::1")
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_MOST = 100  # recipients, headers, URLs


class _Target(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    def __repr__(self) -> str:  # of all fields it would show the secrets, in logs and tracebacks
        return f"<{type(self).__name__}>"

    def secrets(self) -> tuple[str, ...]:
        """What no message may show."""
        return ()

    def check(self) -> None:
        """Raise UsageError if a field is malformed; its message begins with the field's name."""


class Smtp(_Target, tag="smtp", kw_only=True, frozen=True, rename={"sender": "from"}):
    """Mail by a server. `port` 0 is the usual one of `security`. `ca_file` replaces the system's authorities."""

    host: str
    to: list[str]
    port: int = 0
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password: str = ""
    password_file: str = ""
    sender: str = ""
    ca_file: str = ""

    __repr__ = _Target.__repr__

    def secrets(self) -> tuple[str, ...]:
        return (self.password,)

    @property
    def used_port(self) -> int:
        return self.port or _PORTS[self.security]

    def check(self) -> None:
        if not _HOST.fullmatch(self.host):
            raise UsageError(f"host {self.host[:100]!r} is not the name of a server")
        if not 0 <= self.port < 65536:
            raise UsageError(f"port {self.port} is not a number from 1 to 65535")
        if not 1 <= len(self.to) <= _MOST:
            raise UsageError(f"to has {len(self.to)} addresses; 1 to {_MOST} are possible")
        for name, address in [("from", self.sender), *(("to", a) for a in self.to)]:
            if (address or name == "to") and not _ADDRESS.fullmatch(address):
                raise UsageError(f"{name} {address[:100]!r} is not a mail address")
        if self.user and self.security == "none" and not LOOPBACK.fullmatch(self.host):
            raise UsageError("security `none` would send the password in the clear")
        if self.password and self.password_file:
            raise UsageError("password_file is given, and a password, too")
        if (self.password or self.password_file) and not self.user:
            raise UsageError("user is missing, whose password is given")


class _Url(_Target, kw_only=True, frozen=True):
    """A target that has a URL. `insecure`: http is allowed also to other machines, unencrypted."""

    url: str = ""
    insecure: bool = False
    ca_file: str = ""

    __repr__ = _Target.__repr__

    def secrets(self) -> tuple[str, ...]:
        parts = urlsplit(self.url)
        path = parts.path.rstrip("/")
        return (self.url, parts.query, *((path,) if len(path) > 8 else ()))

    def check(self) -> None:
        check_url(self.url, insecure=self.insecure)


def check_url(url: str, *, insecure: bool) -> None:
    """Raise UsageError if requests can't be sent there. The URL may hold secrets: it is not quoted."""
    if not url:
        raise UsageError("url is missing")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError
        if not url.isascii() or not url.isprintable() or " " in url or not parts.hostname or "#" in url:
            raise ValueError
    except ValueError:
        raise UsageError("url is not a URL in ASCII") from None
    if parts.username is not None:
        raise UsageError("url has a user in it; give it in a header")
    if parts.scheme == "http" and not insecure and not LOOPBACK.fullmatch(parts.hostname):
        raise UsageError("url begins with http, which anybody on the way can read; use https, or insecure = true")
    if parts.scheme not in ("http", "https"):
        raise UsageError("url does not begin with https://")


class Webhook(_Url, tag="webhook", kw_only=True, frozen=True):
    """A POST of the event as JSON."""

    headers: dict[str, str] = {}

    __repr__ = _Target.__repr__

    def secrets(self) -> tuple[str, ...]:
        return (*super().secrets(), *self.headers.values())

    def check(self) -> None:
        super().check()
        if len(self.headers) > _MOST:
            raise UsageError(f"headers are more than {_MOST}")
        for name, value in self.headers.items():
            if not _HEADER.fullmatch(name) or not value.isascii() or not value.isprintable():
                raise UsageError(f"headers.{name[:100]} is not a header in printable ASCII")


class PingUrl(_Url, tag="ping", kw_only=True, frozen=True):
    """A dead man's switch in the manner of Healthchecks. Without `kinds` or `items`: of all."""

    kinds: list[str] = []
    items: list[str] = []

    __repr__ = _Target.__repr__


class Apprise(_Target, tag="apprise", kw_only=True, frozen=True):
    """A service that the library apprise knows, by its URL."""

    url: str = ""

    __repr__ = _Target.__repr__

    def secrets(self) -> tuple[str, ...]:
        return (self.url, self.url.partition("://")[2])

    def check(self) -> None:
        scheme, found, _rest = self.url.partition("://")
        # Those that fetch more of a configuration are not for a process that may be root's.
        if not found or not self.url.isprintable() or scheme.lower() in ("file", "include", "config"):
            raise UsageError("url is not the URL of a service, e.g. ntfy://TOPIC")


Target: TypeAlias = Smtp | Webhook | PingUrl | Apprise


def is_name(name: str) -> bool:
    """Whether this can be the name of a target: it is part of paths."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Raise UsageError if this can't be the name of a target."""
    if not is_name(name):
        raise UsageError(
            f"{name[:100]!r} can't be the name of a target", "use up to 32 of a-z, 0-9, - and _, e.g. mail"
        )


def hidden(text: str, target: Target) -> str:
    """A text, e.g. of an error, without the target's secrets."""
    from catalog.screen.redacted import HIDDEN, redacted

    for secret in sorted(filter(None, target.secrets()), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return redacted(text)
