"""Tokens that open the page once, and the sessions that they begin. In memory only; they end with the process."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

TOKEN_SECONDS = 120.0
SESSION_SECONDS = 12 * 3600.0
MOST = 64  # sessions, and tokens, at once
_FREE = 10  # bad tokens, before one a second


class PageSession(NamedTuple):
    """A browser that was let in. `id` names it in links and records; it is not the cookie's value."""

    id: str
    ends: float


class Sessions:
    """Times in seconds of `clock`. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: dict[bytes, float] = {}
        self._sessions: dict[bytes, PageSession] = {}
        self._bad = 0
        self._next_try = 0.0

    def new_token(self) -> str:
        """A token for a link: one use, and for two minutes."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._drop_old()
            while len(self._tokens) >= MOST:
                del self._tokens[next(iter(self._tokens))]
            self._tokens[_digest(token)] = self._clock() + TOKEN_SECONDS
        return token

    def begin(self, token: str) -> tuple[str, PageSession] | None:
        """The cookie's value and the session for a token; None if it is no longer valid."""
        with self._lock:
            now = self._clock()
            if self._bad >= _FREE and now < self._next_try:
                return None
            self._drop_old()
            ends = self._tokens.pop(_digest(token), None)
            if ends is None:
                self._bad += 1
                self._next_try = now + 1.0
                return None
            self._bad = 0
            while len(self._sessions) >= MOST:
                del self._sessions[next(iter(self._sessions))]
            cookie = secrets.token_urlsafe(32)
            session = PageSession(secrets.token_hex(8), now + SESSION_SECONDS)
            self._sessions[_digest(cookie)] = session
            return cookie, session

    def find(self, cookie: str | None) -> PageSession | None:
        """The session of a cookie's value; None if there is none, or it has ended."""
        if not cookie:
            return None
        with self._lock:
            self._drop_old()
            return self._sessions.get(_digest(cookie))

    def is_open(self, session: str) -> bool:
        """Whether the session of an id goes on."""
        with self._lock:
            self._drop_old()
            return any(one.id == session for one in self._sessions.values())

    def end(self, session: str) -> None:
        """End the session of an id."""
        with self._lock:
            self._sessions = {key: one for key, one in self._sessions.items() if one.id != session}

    def _drop_old(self) -> None:
        now = self._clock()
        self._tokens = {key: ends for key, ends in self._tokens.items() if ends > now}
        self._sessions = {key: one for key, one in self._sessions.items() if one.ends > now}


def _digest(text: str) -> bytes:
    """Looked up by its hash, so that the time of a comparison says nothing of a secret."""
    return hashlib.sha256(text.encode(errors="replace")).digest()
