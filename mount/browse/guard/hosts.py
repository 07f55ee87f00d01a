"""Which host names lead to the page, and which to file contents.

A page elsewhere may point a name of its own at this machine (DNS rebinding): only the names here are answered.
"""

from __future__ import annotations

import re
from typing import NamedTuple

APP_NAMES = ("127.0.0.1", "[::1]")
CONTENT_NAME = "localhost"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::([0-9]{1,5}))?", re.ASCII | re.IGNORECASE)


class Host(NamedTuple):
    """What a request says in `Host`. `port` as text, with its colon; empty for the scheme's own."""

    name: str
    port: str

    @property
    def is_contents(self) -> bool:
        return self.name == CONTENT_NAME


def host_of(values: list[bytes]) -> Host | None:
    """The host of a request by its Host headers; None if there is not exactly one, or it is malformed."""
    if len(values) != 1:
        return None
    found = _HOST.fullmatch(values[0].decode("latin-1"))
    if found is None:
        return None
    return Host(found[1].lower(), f":{found[2]}" if found[2] else "")


def is_allowed(host: Host) -> bool:
    """Whether the page answers to this name. Any port is: `ssh -L` changes it."""
    return host.name == CONTENT_NAME or host.name in APP_NAMES
