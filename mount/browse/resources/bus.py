"""Tells every open page what has changed, without waiting for any of them.

A notice says only that a thing changed: `restore` and its id. Whoever shows that thing asks for it. So notices of
one thing are one, a page that is slow loses none that counts, and if it falls too far behind it is told that
everything may have changed.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

Kind = Literal["job", "search", "restore", "drive", "point", "alert", "store", "all"]

WAITING = 256  # different things that a subscriber may be behind
KEPT = 512  # notices kept for subscribers that come back
SUBSCRIBERS = 64  # pages at once; the oldest is ended for another
OF_ONE = 4  # of them of one browser: it makes six connections to a server, and needs some for the rest


class Notice(msgspec.Struct, frozen=True):
    """A thing that changed; `id` is "" for all things of a kind. Kind `all`: everything may have changed."""

    type: Kind
    id: str = ""


class Batch(msgspec.Struct, frozen=True):
    """What changed since the last batch. `mark` is where a subscriber that comes back goes on."""

    mark: str
    notices: list[Notice]


EVERYTHING = Notice("all")


class Subscription:
    """What one page has not been told yet. Made by `Bus.subscribe`; to be closed, e.g. as a context manager."""

    def __init__(self, bus: Bus, wake: Callable[[], object], owner: str) -> None:
        self._bus = bus
        self._wake = wake
        self.owner = owner
        self._waiting: dict[Notice, None] = {}  # in order
        self.closed = False

    def take(self) -> Batch | None:
        """What changed since the last call; None if nothing did. Does not wait."""
        with self._bus.lock:
            if not self._waiting:
                return None
            notices, self._waiting = list(self._waiting), {}
            return Batch(self._bus.mark(), notices)

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""
        with self._bus.lock:
            return bool(self._waiting)

    def mark(self) -> str:
        """Where to go on later, if there is nothing to take; "" if there is something."""
        with self._bus.lock:
            return "" if self._waiting else self._bus.mark()

    def close(self) -> None:
        self._bus.remove(self)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # --- for the bus, which holds its lock ----------------------------------------------------------------

    def add(self, notice: Notice) -> None:
        if EVERYTHING in self._waiting:
            return
        if notice == EVERYTHING or (len(self._waiting) >= WAITING and notice not in self._waiting):
            self._waiting = {EVERYTHING: None}
        else:
            self._waiting[notice] = None

    def wake(self) -> None:
        """Tell the subscriber that there is something, or that the subscription has ended."""
        try:
            self._wake()
        except RuntimeError:  # its event loop has ended: so has whoever would have been told
            self.closed = True


class Bus:
    """Takes notices from any thread and keeps them for each subscriber. Never waits for a subscriber."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._epoch = secrets.token_hex(4)  # marks of another process mean nothing here
        self._number = 0  # of the last notice
        self._recent: deque[Notice] = deque(maxlen=KEPT)
        self._subscribers: list[Subscription] = []
        self._closed = False

    def publish(self, kind: Kind, thing: str = "") -> None:
        """Tell all subscribers that a thing changed. Cheap, from any thread; raises nothing."""
        notice = Notice(kind, thing)
        with self.lock:
            if self._closed:
                return
            self._number += 1
            self._recent.append(notice)
            told = list(self._subscribers)
            for subscriber in told:
                subscriber.add(notice)
        _wake(told)

    def subscribe(self, wake: Callable[[], object], after: str = "", owner: str = "") -> Subscription:
        """A subscription to what changes from now on, or since the mark `after` of an earlier one.

        If it is no longer known what changed since then, everything may have. `wake` is called, from any thread,
        when there is something to take, and when the subscription has ended; it must not wait. `owner` is the
        session that subscribes: of too many of one owner the oldest ends.
        """
        subscriber = Subscription(self, wake, owner)
        with self.lock:
            for notice in self._since(after):
                subscriber.add(notice)
            subscriber.closed = self._closed
            if not self._closed:
                self._subscribers.append(subscriber)
            ended = self._subscribers[:-SUBSCRIBERS]
            if owner:
                ended += [s for s in self._subscribers if s.owner == owner and s not in ended][:-OF_ONE]
            for old in ended:
                self._subscribers.remove(old)
                old.closed = True
        _wake(ended)
        return subscriber

    def close(self) -> None:
        """End all subscriptions: the server stops."""
        with self.lock:
            self._closed = True
            ended, self._subscribers = self._subscribers, []
            for subscriber in ended:
                subscriber.closed = True
        _wake(ended)

    @property
    def subscribers(self) -> int:
        """The number of pages that are being told."""
        with self.lock:
            return len(self._subscribers)

    def remove(self, subscriber: Subscription) -> None:
        """End one subscription. Harmless if it has ended."""
        with self.lock:
            subscriber.closed = True
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

    def mark(self) -> str:
        """Where a subscriber that has been told everything goes on later. With `lock` held."""
        return f"{self._epoch}-{self._number}"

    def _since(self, mark: str) -> list[Notice]:
        if not mark:
            return []
        epoch, _, text = mark.partition("-")
        # A mark comes from the browser: short, and of digits alone.
        if epoch != self._epoch or not text.isascii() or not text.isdigit() or len(text) > 18:
            return [EVERYTHING]
        missed = self._number - int(text)
        if not 0 <= missed <= len(self._recent):
            return [EVERYTHING]
        return list(self._recent)[len(self._recent) - missed :]


def _wake(subscribers: list[Subscription]) -> None:
    """Without the lock: a subscriber may take at once."""
    for subscriber in subscribers:
        subscriber.wake()
