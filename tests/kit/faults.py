"""Stores with one fault each, in front of a real one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence

from catalog.errors import AccessDenied, ShortRead, StoreError, StoreFull, StoreUnreachable, Unreadable
from catalog.store.base import Store
from catalog.store.wrapper import Request, StoreWrapper, T

EVERY_KIND = frozenset({"create", "compose", "now", "replace", "get", "read", "list", "size", "delete"}) | {
    "protection",
    "extend",
}


def spoilt(data: bytes) -> bytes:
    """An object with one bit of its last byte flipped: never equal to `data`, as a fixed byte could be."""
    return data[:-1] + bytes([data[-1] ^ 1])


class Stopped(BaseException):
    """The process ended here. Not an Exception, so that nothing on the way can swallow it."""


class _Chosen(StoreWrapper):
    """Counts the requests of `kinds` whose name starts with `prefix`."""

    def __init__(self, inner: Store, kinds: Collection[str] = EVERY_KIND, prefix: str = "") -> None:
        super().__init__(inner)
        unknown = set(kinds) - EVERY_KIND
        assert not unknown, f"no such kinds of request: {unknown}"
        self.kinds = frozenset(kinds)
        self.prefix = prefix
        self.seen = 0
        self._lock = threading.Lock()

    def _number(self, request: Request) -> int:
        """1 for the first chosen request, and so on; 0 for one that is not chosen."""
        if request.kind not in self.kinds or not request.name.startswith(self.prefix):
            return 0
        with self._lock:
            self.seen += 1
            return self.seen


class FailOnceStore(_Chosen):
    """The first chosen request does not reach the store: StoreUnreachable. Then all is well."""

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if self._number(request) == 1:
            raise StoreUnreachable(f"{request.kind} {request.name}: no answer")
        return call()


class UnreachableStore(_Chosen):
    """While `reachable` is False, no chosen request reaches the store."""

    def __init__(
        self,
        inner: Store,
        *,
        reachable: bool = False,
        kinds: Collection[str] = EVERY_KIND,
        prefix: str = "",
    ) -> None:
        super().__init__(inner, kinds, prefix)
        self.reachable = reachable

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if self._number(request) and not self.reachable:
            raise StoreUnreachable(f"{request.kind} {request.name}: no answer")
        return call()


class RefusingStore(_Chosen):
    """Refuses the chosen requests: AccessDenied."""

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if self._number(request):
            raise AccessDenied(f"{request.kind} {request.name}: refused")
        return call()


class BadDiskStore(_Chosen):
    """The disk can't read the objects whose names begin with `prefix`, as a folder tells: Unreadable."""

    def __init__(self, inner: Store, prefix: str) -> None:
        super().__init__(inner, ("get", "read"), prefix)

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        result = call()
        if self._number(request):
            raise Unreadable(f"{request.name} can't be read", request.name)
        return result


def bad_sector(store: Store, name: str, at: int) -> None:
    """From now on a store fails to read the byte `at` of an object, as a folder on such a disk does: Unreadable."""
    get, read, read_parts = store.get, store.read, store.read_parts

    def checked_get(one: str, most: int) -> bytes:
        if one == name:
            raise Unreadable(f"{name} can't be read", name)
        return get(one, most)

    def checked_read(one: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
        if one == name and offset <= at < offset + length:
            raise Unreadable(f"{name} can't be read", name)
        return read(one, offset, length, up_to=up_to)

    def checked_parts(one: str, offset: int, lengths: Sequence[int]) -> list[bytes]:
        if one == name and offset <= at < offset + sum(lengths):
            raise Unreadable(f"{name} can't be read", name)
        return read_parts(one, offset, lengths)

    store.get, store.read = checked_get, checked_read  # type: ignore[method-assign, assignment]
    store.read_parts = checked_parts  # type: ignore[method-assign, assignment]


class FullStore(StoreWrapper):
    """Has room for `room` more bytes; what does not fit leaves nothing behind: StoreFull."""

    def __init__(self, inner: Store, room: int) -> None:
        super().__init__(inner)
        self.room = room
        self._lock = threading.Lock()

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if request.kind in ("create", "compose", "replace"):
            with self._lock:
                if request.length > self.room:
                    raise StoreFull(f"no room for {request.name}")
                self.room -= request.length
        return call()


class LostAnswerStore(_Chosen):
    """Does the first `times` chosen requests (all of them when None), and loses the answer: StoreUnreachable."""

    def __init__(
        self,
        inner: Store,
        times: int | None = 1,
        kinds: Collection[str] = ("create", "replace", "delete"),
        prefix: str = "",
        error: type[StoreError] = StoreUnreachable,
    ) -> None:
        super().__init__(inner, kinds, prefix)
        self.times, self._error = times, error

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        number = self._number(request)
        result = call()
        if number and (self.times is None or number <= self.times):
            raise self._error(f"{request.kind} {request.name}: the answer was lost")
        return result


class TruncatingStore(LostAnswerStore):
    """The first `times` transfers of gets and reads break off (all of them when None): ShortRead."""

    def __init__(self, inner: Store, times: int | None = None, prefix: str = "") -> None:
        super().__init__(inner, times, ("get", "read"), prefix, ShortRead)


class StopAtStore(_Chosen):
    """The process ends at the `at`-th chosen request, before or after doing it: Stopped.

    Whatever any thread asks of the store later does not happen either: a dead process sends nothing.
    `seen` tells how many requests there were, `stopped` whether the end came.
    """

    def __init__(
        self,
        inner: Store,
        at: int,
        *,
        after: bool = False,
        kinds: Collection[str] = EVERY_KIND,
        prefix: str = "",
    ) -> None:
        super().__init__(inner, kinds, prefix)
        self.at = at
        self.after = after
        self.stopped = False

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if self.stopped:
            raise Stopped
        if self._number(request) != self.at:
            return call()
        self.stopped = True
        if self.after:
            call()
        raise Stopped
