"""What `rpdrive browse` was told, parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import UsageError
from catalog.screen.text import parse_duration

_LISTEN = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]/\s]+))(?::(?P<port>[0-9]{1,5}))?")
_BARE_SIX = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


@dataclass(frozen=True)
class Listen:
    """Where other devices reach the page. `host`: a name or an address without brackets; port 0: a free one."""

    host: str
    port: int

    @property
    def text(self) -> str:
        """As it was asked for."""
        return f"{self.shown}:{self.port}"

    @property
    def shown(self) -> str:
        """The host as a URL has it."""
        return f"[{self.host}]" if ":" in self.host else self.host


@dataclass(frozen=True)
class Options:
    """`port` 0: a free one. `idle` in seconds; None: the page stays. `opens`: whether a browser may be started."""

    port: int = 0
    socket: Path | None = None
    listen: Listen | None = None
    read_only: bool = False
    idle: float | None = 3600.0
    opens: bool = True
    as_json: bool = False


def parsed(
    *, port: int, socket: Path | None, listen: str | None, read_only: bool, allow_restore: bool, idle: str,
    no_open: bool, as_json: bool,
) -> Options:  # fmt: skip
    """Raises UsageError."""
    if read_only and allow_restore:
        raise UsageError("--read-only and --allow-restore contradict each other", "leave one of them out")
    if allow_restore and listen is None:
        raise UsageError("--allow-restore is for --listen only", "without --listen, the page may restore anyway")
    return Options(
        port=port,
        socket=None if socket is None else socket.absolute(),
        listen=None if listen is None else parse_listen(listen),
        read_only=read_only or (listen is not None and not allow_restore),
        idle=None if idle == "off" else parse_duration(idle),
        opens=not no_open and not as_json,
        as_json=as_json,
    )


def parse_listen(text: str) -> Listen:
    """`ADDRESS`, `ADDRESS:PORT` or `[IPv6]:PORT`. Raises UsageError."""
    if _BARE_SIX.fullmatch(text):
        return Listen(text.lower(), 0)
    found = _LISTEN.fullmatch(text)
    port = int(found["port"] or 0) if found else 0
    host = (found["six"] or found["name"]).lower() if found else ""
    if not host.isascii() or not 0 <= port < 1 << 16 or found is None:
        raise UsageError(f"--listen: {text!r} is not an address", "write e.g. 192.0.2.7, 192.0.2.7:8443 or a name")
    return Listen(host, port)
