"""Links to contents: whoever has one may read what it names, and nothing else.

The origin of contents knows no cookie. A link's payload says what may be read, for which session and until when;
an HMAC with a key of this process seals it. Ids are no secrets: without the seal they open nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

import msgspec

from catalog.errors import NotFound, UsageError
from mount.browse.guard.sessions import Sessions

BEGIN_SECONDS = 3600.0  # within which a download must begin; then it may resume as long as the session lives
LONGEST = 96 << 10  # characters of a payload
_CONTEXT = b"rpdrive browse: link to contents\0"
_ADVICE = "go back to the page, and begin the download again"


class Wanted(msgspec.Struct, array_like=True, frozen=True):
    """What a link leads to: places (point id in hex, path), and as what: inline, attachment, tar or zip.

    `until`: when it must have begun, in seconds by the clock of Capabilities.
    """

    places: list[tuple[str, bytes]]
    what: str
    session: str = ""
    until: float = 0.0


class Capabilities:
    """Makes links to contents, and checks them. Thread-safe. `clock` counts seconds; the key is of this process."""

    def __init__(self, sessions: Sessions, clock: Callable[[], float] = time.monotonic) -> None:
        self._sessions, self._clock = sessions, clock
        self._key = secrets.token_bytes(32)
        self._decoder = msgspec.msgpack.Decoder(Wanted)

    def sign(self, wanted: Wanted, session: str) -> str:
        """`<payload>.<HMAC>` for a link of a session (its id), which must be used within BEGIN_SECONDS.

        Raises UsageError if the link would be longer than LONGEST.
        """
        wanted = msgspec.structs.replace(wanted, session=session, until=self._clock() + BEGIN_SECONDS)
        payload = _text(msgspec.msgpack.encode(wanted))
        if len(payload) > LONGEST:
            raise UsageError("a link can't name so many places", "choose fewer, or the folder above them")
        return f"{payload}.{self._seal(payload).decode()}"

    def check(self, text: str) -> Wanted:
        """What the `<payload>.<HMAC>` of a link leads to now.

        Raises NotFound if it is forged, of another process, too old, or of a session that has ended.
        """
        payload, _dot, seal = text.partition(".")
        if len(text) > 2 * LONGEST or not hmac.compare_digest(self._seal(payload), _plain(seal)):
            raise NotFound("this link was not made by the page that runs now", _ADVICE)
        try:
            wanted = self._decoder.decode(_bytes(payload))
        except msgspec.MsgspecError as e:  # pragma: no cover - this process sealed it
            raise NotFound("this link is malformed", _ADVICE) from e
        session = self._sessions.with_id(wanted.session)
        if session is None:
            raise NotFound("the session of this link has ended", _ADVICE)
        mark = hashlib.sha256(payload.encode()).digest()[:16]
        if self._clock() <= wanted.until:
            self._sessions.begun(session, mark)
        elif not self._sessions.has_begun(session, mark):
            raise NotFound("this link is too old", _ADVICE)
        return wanted

    def lives(self, wanted: Wanted) -> bool:
        """Whether the session of a link still lives: a stream stops when it doesn't."""
        return self._sessions.is_open(wanted.session)

    def _seal(self, payload: str) -> bytes:
        """The seal as text: it is compared as such, so that it has one spelling."""
        return _text(hmac.digest(self._key, _CONTEXT + _plain(payload), "sha256")).encode()


def _plain(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
