"""Who may use the page: tokens, which a link carries and which work once, and the sessions that they begin.

Tokens and cookies are random; nothing is derived from the vault. Both are kept as digests, so that the time to find
one says nothing of it. Everything is in memory and ends with the process.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

TOKEN_SECONDS = 120
SESSION_SECONDS = 12 * 3600
MOST_TOKENS = 16  # links not yet used; the oldest goes
MOST_SESSIONS = 64  # the one used longest ago goes
BAD_TOKENS = 10  # at once; then one for each second
_MOST_BEGUN = 4096  # downloads of a session that may resume after their link's time
_TOKEN_BYTES, _COOKIE_BYTES = 16, 32
SHORTEST = 32  # characters of a secret by which a browser says that it is the same,
_LONGEST = 64  # and of a token, a cookie or that secret that are looked at


class BadToken(Exception):
    """The token of a link is unknown, was used before, or is too old."""


class TooManyBadTokens(Exception):
    """Too many tokens were wrong. `wait`: seconds until the next may be tried."""

    def __init__(self, wait: int) -> None:
        super().__init__(f"too many wrong links; try again in {wait} s")
        self.wait = wait


@dataclass(eq=False)
class PageSession:
    """A browser that came in by a link. `id` is no secret: links to contents and records of jobs have it."""

    id: str
    expires: float  # by the clock of Sessions
    digest: bytes = field(repr=False)  # of the cookie
    marks: OrderedDict[bytes, None] = field(default_factory=OrderedDict, repr=False)  # links that were used


class _Used(NamedTuple):
    """A token that was used: by which attempt (a digest), until when, for which session; whether that is new."""

    attempt: bytes
    expires: float
    session: PageSession
    began: bool


class Sessions:
    """The sessions of this process. Thread-safe. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._secret = secrets.token_bytes(32)
        self._tokens: OrderedDict[bytes, float] = OrderedDict()  # digest: when it expires
        self._used: OrderedDict[bytes, _Used] = OrderedDict()  # by the digest of the token
        self._sessions: OrderedDict[bytes, PageSession] = OrderedDict()  # by cookie; last used at the end
        self._by_id: dict[str, PageSession] = {}
        self._tries = float(BAD_TOKENS)
        self._counted = clock()

    def new_token(self) -> str:
        """A token for one link: 128 bits, good once, for TOKEN_SECONDS."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        with self._lock:
            while len(self._tokens) >= MOST_TOKENS:
                self._tokens.popitem(last=False)
            self._tokens[_digest(token)] = self._clock() + TOKEN_SECONDS
        return token

    def enter(self, token: str, cookies: Iterable[str] = (), attempt: str = "") -> tuple[PageSession, str | None]:
        """Use up a token. Returns the session, and the value of its cookie; None: the browser has it already.

        `cookies`: those of the request. A browser with a session keeps it, for SESSION_SECONDS from now. `attempt`
        is a secret of the browser's, of SHORTEST characters or more: who sends it again with the same token, in
        time, did not get the answer, and has the session anew. Raises BadToken, or TooManyBadTokens, which says
        nothing about the token.
        """
        now = self._clock()
        with self._lock:
            self._tries = min(self._tries + max(now - self._counted, 0.0), float(BAD_TOKENS))
            self._counted = now
            if self._tries < 1:
                raise TooManyBadTokens(1)
            expires = self._use_up(token, attempt, now)
            if expires is None:
                self._tries -= 1
                raise BadToken("this link was used before, or is older than two minutes")
            session, cookie = self._found(cookies, now), None
            if session is not None:
                session.expires = now + SESSION_SECONDS
            else:
                session, cookie = self._begin(now)
            if SHORTEST <= len(attempt) <= _LONGEST:
                while len(self._used) >= MOST_TOKENS:
                    self._used.popitem(last=False)
                self._used[_digest(token)] = _Used(_digest(attempt), expires, session, cookie is not None)
            return session, cookie

    def _use_up(self, token: str, attempt: str, now: float) -> float | None:
        """When the token expires; None if this attempt may not use it. The session that it began goes."""
        if len(token) > _LONGEST or len(attempt) > _LONGEST:
            return None
        digest = _digest(token)
        used = self._used.get(digest)
        if used is None or not hmac.compare_digest(used.attempt, _digest(attempt)):
            expires = self._tokens.pop(digest, None)
            return None if expires is None or expires <= now else expires
        if used.expires <= now:
            return None
        if used.began:
            self._forget(used.session)  # whoever has its cookie gets another
        return used.expires

    def _begin(self, now: float) -> tuple[PageSession, str]:
        cookie = secrets.token_urlsafe(_COOKIE_BYTES)
        session = PageSession(secrets.token_hex(16), now + SESSION_SECONDS, _digest(cookie))
        while len(self._sessions) >= MOST_SESSIONS:
            self._forget(next(iter(self._sessions.values())))
        self._sessions[session.digest] = self._by_id[session.id] = session
        return session, cookie

    def of(self, cookies: Iterable[str]) -> PageSession | None:
        """The session of a request with these cookies: another port of the host may have set one beside ours."""
        with self._lock:
            return self._found(cookies, self._clock())

    def _found(self, cookies: Iterable[str], now: float) -> PageSession | None:
        for value in cookies:
            session = self._sessions.get(_digest(value)) if len(value) <= _LONGEST else None
            if session is not None and session.expires <= now:
                self._forget(session)
            elif session is not None:
                self._sessions.move_to_end(session.digest)
                return session
        return None

    def key(self, session: PageSession) -> str:
        """The other half of a session. The page keeps it where its origin alone reads it.

        Browsers send a host's cookies to all its ports, so whoever else serves something at 127.0.0.1 gets ours.
        """
        return base64.urlsafe_b64encode(hmac.digest(self._secret, session.id.encode(), "sha256")[:18]).decode()

    def is_open(self, session_id: str) -> bool:
        """Whether the session with this id lives."""
        return self.with_id(session_id) is not None

    def with_id(self, session_id: str) -> PageSession | None:
        """The session with this id, if it lives."""
        with self._lock:
            session = self._by_id.get(session_id)
            if session is not None and session.expires <= self._clock():
                self._forget(session)
                return None
            return session

    def end(self, session: PageSession) -> None:
        """End a session: its cookie, its links to contents and the tokens that led to it work no more."""
        with self._lock:
            self._forget(session)
            for digest in [digest for digest, used in self._used.items() if used.session is session]:
                del self._used[digest]

    def _forget(self, session: PageSession) -> None:
        self._sessions.pop(session.digest, None)
        self._by_id.pop(session.id, None)

    def begun(self, session: PageSession, mark: bytes) -> None:
        """Remember that a link was used in time, so that its download may resume later."""
        with self._lock:
            session.marks[mark] = None
            session.marks.move_to_end(mark)
            while len(session.marks) > _MOST_BEGUN:
                session.marks.popitem(last=False)

    def has_begun(self, session: PageSession, mark: bytes) -> bool:
        """Whether a link of the session was used in time."""
        with self._lock:
            return mark in session.marks

    def __len__(self) -> int:
        """The number of sessions, ended ones included that nobody asked for since."""
        with self._lock:
            return len(self._sessions)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()
