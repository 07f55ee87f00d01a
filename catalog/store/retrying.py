"""Retries: requests to a store that did not answer are repeated."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence

from catalog import held
from catalog.errors import (
    Damaged,
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    ShortRead,
    StoreUnreachable,
    TooLate,
)
from catalog.store.base import Buffer, ObjectInfo, Part, Range, Store, pieces
from catalog.store.deadline import Deadline, check
from catalog.store.protection import Lock
from catalog.store.wrapper import Request, StoreWrapper, T

FIRST_PAUSE = 0.25  # seconds
LONGEST_PAUSE = 8.0  # seconds
QUIET = 3.0  # seconds


class RetryingStore(StoreWrapper):
    """Repeats requests that got no answer (StoreUnreachable) or a broken one (ShortRead).

    No attempt begins later than `patience` seconds after the first; then the last error is raised. Pauses
    double from FIRST_PAUSE to LONGEST_PAUSE. Each is shortened by a random part of up to a half, so that many
    clients don't return at the same moment. A `read` beyond the object's end raises ShortRead, too, and is
    repeated like any other: a caller that may read so far sets `up_to`.

    A create, compose or replace whose answer was lost may have taken effect. If a later attempt finds that the
    object exists, or has changed, the object is read back; the call succeeds if it holds exactly the bytes sent.
    Time for which a limit of the rate held a request back does not count.
    `waiting` is called once in each outage, when requests have had no answer for QUIET seconds.

    No attempt to create begins after the deadline `until`, however long a pause or the machine's sleep lasted.
    """

    def __init__(
        self,
        inner: Store,
        patience: float = 60.0,
        *,
        clock: Callable[[], float] = held.own_clock,
        pause: Callable[[float], None] | None = None,
        waiting: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(inner)
        self.patience = patience
        self._clock = clock
        self._closed = threading.Event()
        self._waiting = waiting
        self._told = False  # of this outage
        self._pause: Callable[[float], object] = pause or self._closed.wait

    def create(self, name: str, parts: Sequence[Buffer], *, until: Deadline | None = None) -> int:
        lost = False

        def attempt() -> int:
            nonlocal lost
            try:
                check(until, name)
                return self.inner.create(name, parts, until=until)
            except StoreUnreachable:
                lost = True
                raise
            except (ObjectExists, TooLate):
                if not (lost and self._holds(name, [b"".join(parts)])):
                    raise
                return self._modified(name)

        return self._pass_on(Request("create", name), attempt)

    def compose(self, name: str, parts: Sequence[Part]) -> int:
        lost = False

        def attempt() -> int:
            nonlocal lost
            try:
                return self.inner.compose(name, parts)
            except StoreUnreachable:
                lost = True
                raise
            except ObjectExists:
                if not (lost and self._holds(name, parts)):
                    raise
                return self._modified(name)

        return self._pass_on(Request("compose", name), attempt)

    def take(self, name: str, source: Store, size: int, *, digest: bytes | None = None) -> int:
        lost = False
        once = _Once(source)

        def attempt() -> int:
            nonlocal lost
            try:
                return self.inner.take(name, once, size, digest=digest)
            except StoreUnreachable:
                lost = True
                raise
            except ObjectExists:
                if not (lost and self._is_taken(name, once, size)):
                    raise
                return self._modified(name)

        try:
            return self._pass_on(Request("create", name), attempt)
        except _SourceFailed as failed:
            raise failed.error from failed.error.__cause__

    def replace(self, name: str, data: Buffer, tag: str) -> None:
        lost = False

        def attempt() -> None:
            nonlocal lost
            try:
                self.inner.replace(name, data, tag)
            except StoreUnreachable:
                lost = True
                raise
            except ObjectChanged:
                if not (lost and self._holds(name, [data])):
                    raise

        self._pass_on(Request("replace", name), attempt)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._whole(prefix, self.inner.list, lambda info: info.name)

    def folders(self, prefix: str) -> Iterator[str]:
        return self._whole(prefix, self.inner.folders, lambda name: name + "/")

    def locks(self, prefix: str) -> Iterator[Lock]:
        return self._whole(prefix, self.inner.locks, lambda lock: lock.name)

    def _whole(self, prefix: str, listing: Callable[[str], Iterator[T]], key: Callable[[T], str]) -> Iterator[T]:
        last = ""

        def rest() -> Iterator[T]:
            return (row for row in listing(prefix) if key(row) > last)

        # A broken listing starts again and skips the names already returned: they come in order.
        rows = rest()

        def following() -> T | None:
            nonlocal rows
            try:
                return next(rows, None)
            except (StoreUnreachable, ShortRead):
                rows = rest()
                raise

        while (row := self._pass_on(Request("list", prefix), following)) is not None:
            last = key(row)
            yield row

    def close(self) -> None:
        self._closed.set()
        super().close()

    def _holds(self, name: str, parts: Sequence[Part]) -> bool:
        """Whether the object consists of exactly these parts. It is read whole: lost answers are rare."""
        lengths = [part.length if isinstance(part, Range) else memoryview(part).nbytes for part in parts]
        try:
            if self.inner.size(name) != sum(lengths):
                return False
            offset = 0
            for part, length in zip(parts, lengths, strict=True):
                wanted = self.inner.read(*part) if isinstance(part, Range) else part
                if length and self.inner.read(name, offset, length) != wanted:
                    return False
                offset += length
            return True
        except ObjectNotFound:
            return False

    def _is_taken(self, name: str, source: Store, size: int) -> bool:
        """Whether the object has the same bytes as in another store."""
        try:
            if self.inner.size(name) != size:
                return False
            offset = 0
            for piece in pieces(source, name, size):
                if self.inner.read(name, offset, len(piece)) != piece:
                    return False
                offset += len(piece)
            return True
        except (ObjectNotFound, Damaged):
            return False

    def _modified(self, name: str) -> int:
        for info in self.inner.list(name):
            if info.name == name:
                return info.modified
        raise StoreUnreachable(f"{name} was stored, but is not listed yet")

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        began = self._clock()
        give_up = began + self.patience
        pause = FIRST_PAUSE
        while True:
            try:
                result = call()
                self._told = False
                return result
            except (StoreUnreachable, ShortRead):
                wait = random.uniform(pause / 2, pause)
                if self._closed.is_set() or self._clock() + wait > give_up:
                    raise
                if not self._told and self._clock() - began >= QUIET:
                    self._told = True
                    self._waiting()
                self._pause(wait)
                pause = min(2 * pause, LONGEST_PAUSE)


class _SourceFailed(Exception):
    """The store that an object is taken from did not answer."""

    def __init__(self, error: StoreUnreachable | ShortRead) -> None:
        super().__init__()
        self.error = error


class _Once(StoreWrapper):
    """A source whose requests are not repeated here: it has retries of its own, or none, as a folder has."""

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        try:
            return call()
        except (StoreUnreachable, ShortRead) as error:
            raise _SourceFailed(error) from error
