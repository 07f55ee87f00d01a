"""Which points of a listing are shown: by time, and no more records are read than are asked for."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby, islice
from typing import NamedTuple

from catalog.errors import RpdriveError, UsageError
from catalog.format.records import Machine, Point, PointName
from catalog.format.sealed import Kind
from catalog.ledger.listed import Key, Listed
from catalog.ledger.table import by_time
from catalog.points.choice import time_begins, time_ends
from catalog.points.opening import without_problems
from catalog.vault import Vault

LAST = 100  # points that are shown, unless another number is asked for
_AT_ONCE = 1000  # names for which ledgers, machines and records are read at once
_HELD = 100_000  # names in memory
_MOST_BAD = 1000  # records that do not open, after which no older ones are tried


class Span(NamedTuple):
    """Times of points, from `since` on, and before `until` (ns since the epoch, UTC)."""

    since: int | None = None
    until: int | None = None

    @classmethod
    def parsed(cls, since: str | None, until: str | None) -> Span:
        """A span in the words of `POINT`: `until` a day includes that day. Raises UsageError."""
        begins = [] if since is None else time_begins(since)
        ends = [] if until is None else time_ends(until)
        for text, found in ((since, begins), (until, ends)):
            if text is not None and not found:
                raise UsageError(f"{text} is not a time", "write e.g. 2026-11-17 or '2026-11-17 08:30'")
        return cls(min(begins, default=None), max(ends, default=None))

    def has(self, time: int) -> bool:
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)


class Shown:
    """The points of a listing that are to be shown, and the records of their machines.

    Those that ledgers hide are left out; those of forgotten machines, too, unless `every`. A ledger, or the record
    of a machine, is read when a point needs it: `machines` has those that were read. `bad` are the names, and
    `errors` the errors, of records that do not open. No more than _HELD names are in memory: the listing's table is
    gone through again for others.
    """

    def __init__(self, vault: Vault, listed: Listed, span: Span, *, every: bool) -> None:
        self._vault, self._listed, self._span, self._every = vault, listed, span, every
        self.count = sum(span.has(name.time) for name in listed.stored)
        self.machines: dict[bytes, Machine] = {}
        self._asked: set[bytes] = set()
        self._knowing = threading.Lock()
        self._oldest: PointName | None = None  # that `last` has looked at
        self._taken = 0  # names that were shown or passed over
        self.items: set[Key] = set()  # those of the points that are shown
        self.forgotten = 0  # points of forgotten machines that were passed over
        self.bad: set[PointName] = set()
        self.errors: list[RpdriveError] = []

    def machines_of_all(self) -> set[bytes]:
        """The machines that have points."""
        return {machine for machine, _item in self._listed.stored.keys_of_items()}

    def last(self, count: int) -> list[Point]:
        """The newest `count` points that open, the oldest first. Raises StoreError."""
        found = list[Point]()
        ranked = self._visible(self._sorted(heapq.nlargest, lambda a, b: a < b), count)
        while len(found) < count and len(self.bad) < _MOST_BAD:
            some = list(islice(ranked, count - len(found)))
            if not some:
                break
            found += self._read(some)
        return sorted(found, key=lambda p: (p.time, p.sequence))

    def each(self) -> Iterator[Point]:
        """All points that open, the oldest first, some at a time. Raises StoreError."""
        ranked = self._visible(self._sorted(heapq.nsmallest, lambda a, b: a > b), _AT_ONCE)

        def opened() -> Iterator[Point]:
            while some := list(islice(ranked, _AT_ONCE)):
                yield from self._read(some)

        for _second, some in groupby(opened(), key=lambda p: p.time // 10**9):  # names have whole seconds
            yield from sorted(some, key=lambda p: (p.time, p.sequence))

    def _sorted(self, first: Callable[..., list[PointName]], beyond: Callable[..., bool]) -> Iterator[PointName]:
        """The names of the span in an order by time: `first` gives some of them, others are `beyond` these."""
        last: tuple[int, int, bytes] | None = None
        while True:
            names = (n for n in self._listed.stored if self._span.has(n.time))
            some = first(_HELD, (n for n in names if last is None or beyond(by_time(n), last)), key=by_time)
            yield from some
            if len(some) < _HELD:
                return
            last = by_time(some[-1])

    def older(self, key: Key) -> list[PointName]:
        """The points of an item that `last` left out and that are not hidden. They are believed by their names."""
        names = (n for n in self._listed.stored.of(key) if self._span.has(n.time) and self._is_older(n))
        return list(self._listed.shown(names))

    def left(self) -> tuple[int, bool]:
        """How many older points `last` left out, and whether that is exact.

        Some of items that were not looked at may be hidden.
        """
        left = self.count - self._taken
        if not left:
            return 0, True
        is_exact = self.items.issuperset(self._listed.stored.keys_of_items())
        for key in self.items:
            names = (n for n in self._listed.stored.of(key) if self._span.has(n.time))
            left -= sum(self._is_older(n) and self._listed.is_hidden(n) for n in names)
        return left, is_exact

    def _is_older(self, name: PointName) -> bool:
        return self._oldest is None or by_time(name) < by_time(self._oldest)

    def _read(self, names: list[PointName]) -> list[Point]:
        found = list[Point]()
        records = self._vault.read_each(Kind.POINT, Point, names, without_problems)
        for name, point in zip(names, records, strict=True):
            if isinstance(point, Point):
                found.append(point)
            else:
                self._vault.passed_over.note(str(name), point)
                self.bad.add(name)
                self.errors.append(point)
        return found

    def _visible(self, names: Iterator[PointName], at_once: int) -> Iterator[PointName]:
        while some := list(islice(names, min(at_once, _AT_ONCE))):
            self._listed.ledgers.read({(n.machine, n.item) for n in some})
            self.know(n.machine for n in self._listed.shown(some))
            for name in some:
                self._taken += 1
                self._oldest = name
                if self._listed.is_hidden(name):
                    continue
                machine = self.machines.get(name.machine)
                if machine is not None and machine.forgotten and not self._every:
                    self.forgotten += 1
                    continue
                self.items.add((name.machine, name.item))
                yield name

    def know(self, machines: Iterable[bytes]) -> Mapping[bytes, Machine]:
        """Read the records of machines (ids): one listing, if there are new ones."""
        with self._knowing:  # records of checks are looked for in another thread: each waits for what it needs
            new = set(machines) - self._asked
            if new:
                self._asked |= new
                self.machines.update(self._vault.machines({one.hex() for one in new}))
            return self.machines
