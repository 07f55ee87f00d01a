"""Signed links to contents. Who has one may read what it names, and nothing else, while its session goes on."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

import msgspec

from catalog.errors import NotFound
from mount.browse.guard.sessions import Sessions

TO_BEGIN = 3600.0  # seconds


class Wanted(msgspec.Struct, array_like=True):
    """What a link leads to: places (point id in hex, path), and as what: inline, attachment, tar or zip."""

    places: list[tuple[str, bytes]]
    what: str
    session: str = ""
    until: float = 0.0


class Capabilities:
    """Makes links, and reads them. The key is of this process. Times in seconds of `clock`."""

    def __init__(self, sessions: Sessions, clock: Callable[[], float] = time.time) -> None:
        self._sessions, self._clock = sessions, clock
        self._key = secrets.token_bytes(32)

    def sign(self, wanted: Wanted, session: str) -> str:
        """The part of a link that names and proves what it leads to."""
        wanted = msgspec.structs.replace(wanted, session=session, until=self._clock() + TO_BEGIN)
        payload = msgspec.msgpack.encode(wanted)
        return f"{_text(payload)}.{_text(self._mac(payload))}"

    def check(self, text: str, *, resumed: bool = False) -> Wanted:
        """What a link leads to; `resumed` if it goes on with a download, for which its hour doesn't count.

        Raises NotFound if it is forged, or too old, or its session is over.
        """
        payload, _dot, mac = text.partition(".")
        try:
            raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
            given = base64.urlsafe_b64decode(mac + "=" * (-len(mac) % 4))
            if hmac.compare_digest(self._mac(raw), given):
                wanted = msgspec.msgpack.decode(raw, type=Wanted)
                if self._sessions.is_open(wanted.session) and (resumed or self._clock() < wanted.until):
                    return wanted
        except (ValueError, msgspec.MsgspecError):
            pass
        raise NotFound("this link is no longer valid", "go back to the page, and begin the download again")

    def _mac(self, payload: bytes) -> bytes:
        return hmac.new(self._key, payload, hashlib.sha256).digest()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
