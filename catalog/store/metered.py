"""Exact counts of a store's requests and bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from operator import add, sub
from typing import NamedTuple

import msgspec

from catalog import interruption
from catalog.store.base import Store
from catalog.store.wrapper import Kind, Request, StoreWrapper, T, carried_by


class Count(NamedTuple):
    """Requests, and the bytes of object contents that they carried in either direction."""

    requests: int = 0
    bytes: int = 0


NONE = Count()


class Traffic(msgspec.Struct, frozen=True):
    """Requests to a store, by kind. Two of them can be subtracted: after - before."""

    create: Count = NONE
    compose: Count = NONE
    replace: Count = NONE
    get: Count = NONE
    read: Count = NONE
    list: Count = NONE
    size: Count = NONE
    delete: Count = NONE
    protection: Count = NONE
    extend: Count = NONE

    @property
    def requests(self) -> int:
        """Requests of every kind."""
        return sum(self.of(kind).requests for kind in self.__struct_fields__)

    @property
    def sent(self) -> int:
        """Bytes stored."""
        return self.create.bytes + self.compose.bytes + self.replace.bytes

    @property
    def received(self) -> int:
        """Bytes fetched."""
        return self.get.bytes + self.read.bytes

    def of(self, kind: str) -> Count:
        count: Count = getattr(self, kind)
        return count

    def __sub__(self, earlier: Traffic) -> Traffic:
        return self._combined(earlier, sub)

    def __add__(self, other: Traffic) -> Traffic:
        return self._combined(other, add)

    def _combined(self, other: Traffic, how: Callable[[int, int], int]) -> Traffic:
        return Traffic(*(Count(*map(how, self.of(kind), other.of(kind))) for kind in self.__struct_fields__))

    def __str__(self) -> str:
        return f"{self.requests} requests, {self.received} bytes received, {self.sent} bytes sent"


class MeteredStore(StoreWrapper):
    """Counts all requests, including failed ones, and the bytes of those that succeeded.

    A composed object counts as Azure counts it: one request for each part, and two more; so does `protection`, with
    one for each object. `now` counts as none. An object that is lent counts as a read without bytes.

    If `log` is set, the attribute `log` lists every request in the order in which they ended; its `length` is
    the number of bytes carried, so a failed `read` has length 0.
    """

    def __init__(self, inner: Store, *, log: bool = False) -> None:
        super().__init__(inner)
        self.log: list[Request] | None = [] if log else None
        self._lock = threading.Lock()
        self._traffic: dict[Kind, Count] = {}

    def snapshot(self) -> Traffic:
        """The counts up to now."""
        with self._lock:
            return Traffic(**self._traffic)

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        interruption.check()
        if request.kind == "now":
            return call()
        if request.kind == "lend":
            result = call()
            if result is not None:
                self._note(request._replace(kind="read"), 1, 0)
            return result
        carried = 0
        sent = request.offset + 2 if request.kind in ("compose", "protection") else 1
        try:
            result = call()
            carried = carried_by(request, result)
            return result
        finally:
            self._note(request, sent, carried)

    def _note(self, request: Request, sent: int, carried: int) -> None:
        with self._lock:
            requests, total = self._traffic.get(request.kind, NONE)
            self._traffic[request.kind] = Count(requests + sent, total + carried)
            if self.log is not None:
                self.log.append(request._replace(length=carried))
