"""A value from the store that is read again while a drive uses it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from catalog.errors import RpdriveError

FRESH_SECONDS = 5.0
AFTER_FAILURE_SECONDS = 30.0
PATIENCE_SECONDS = 2.0  # for a new value, before the old one serves
_log = logging.getLogger(__name__)
T = TypeVar("T")


class Renewed(Generic[T]):
    """The value that `read` returns, at most a few seconds old if the store answers. Thread-safe.

    A value younger than `fresh` seconds is not read again, nor one whose reading failed for `after_failure`
    seconds. While that takes long or fails, the last value serves. `read` gets the last value, None at first.
    """

    def __init__(
        self,
        read: Callable[[T | None], T],
        what: str,
        *,
        fresh: float = FRESH_SECONDS,
        after_failure: float = AFTER_FAILURE_SECONDS,
    ) -> None:
        self._read, self._what = read, what
        self._fresh, self._after_failure = fresh, after_failure
        self._lock = threading.Lock()
        self._first = threading.Lock()
        self._renewal: threading.Event | None = None
        self._wait_until = 0.0  # for the renewal that is running
        self._due = 0.0
        self.last: T | None = None

    def get(self) -> T:
        """The value. Raises what `read` raises the first time."""
        last = self.last
        if last is None:
            with self._first:  # one thread reads it, the others wait
                if self.last is None:
                    self.last = self._read(None)
                    self._due = time.monotonic() + self._fresh
                return self.last
        with self._lock:
            if self._renewal is None and time.monotonic() >= self._due:
                self._renewal = threading.Event()
                self._wait_until = time.monotonic() + PATIENCE_SECONDS
                threading.Thread(target=self._renew, args=(self._renewal,), name="points", daemon=True).start()
            renewal = self._renewal
        if renewal is not None:
            renewal.wait(max(self._wait_until - time.monotonic(), 0.0))
        return self.last if self.last is not None else last

    def _renew(self, done: threading.Event) -> None:
        wait = self._after_failure
        try:
            self.last = self._read(self.last)
            wait = self._fresh
        except RpdriveError as e:
            _log.warning("cannot renew %s: %s", self._what, e)
        except Exception:  # noqa: BLE001 - the old value serves, whatever the error
            _log.exception("cannot renew %s", self._what)
        finally:
            with self._lock:
                self._due = time.monotonic() + wait
                self._renewal = None
            done.set()
