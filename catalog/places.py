"""Where the blocks of packs are: in their packs, or in carriers that upkeep has moved them to.

Trees refer to blocks by pack and offset, for ever; records of places say in which object these bytes are now. They
are read when a pack is not found: one listing and one request, once for a series of packs, and from then on the
table is asked first. docs/format.md, "Reading a block".
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right, insort_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from catalog.format.blocks import PackKind
from catalog.format.packs import SERIES_BYTES, Extent
from catalog.format.places import (
    InsteadRow,
    PlacesRecord,
    decode_places,
    far,
    in_shard,
    near,
    places_folder,
    places_named,
)
from catalog.format.sealed import Kind
from catalog.signed import SignedRecords
from catalog.store.base import Store

PATIENCE = 2.0  # seconds before the second listing: the store's listings may be behind
FRESH = 30.0  # seconds for which a listing is not repeated
_Pack: TypeAlias = tuple[int, bytes]  # kind and id
_Block: TypeAlias = tuple[int, bytes, int]  # kind, pack, offset


class Run(NamedTuple):
    """Blocks of a pack, from `start` to `end`, that lie in the object `holder` from `at`."""

    start: int
    end: int
    holder: bytes
    at: int

    @property
    def shift(self) -> int:
        """What is added to an offset in the pack for that in the holder."""
        return self.at - self.start


class _Table:
    """What one record says."""

    def __init__(self, record: PlacesRecord) -> None:
        self.number = record.number
        self.record = record
        self.moved: dict[_Pack, tuple[Run, ...]] = {}
        self.instead: dict[_Block, list[InsteadRow]] = {}  # by their place in the block
        for row in record.moved:
            self.moved[row.kind, row.pack] = tuple(
                Run(r.start, r.start + r.length, record.carriers[r.carrier], r.at) for r in row.runs
            )
        self.holders = {run.holder for runs in self.moved.values() for run in runs}
        for i in record.instead:
            self.instead.setdefault((i.kind, i.pack, i.offset), []).append(i)
        for rows in self.instead.values():
            rows.sort(key=_inner)

    def copy_of(self, kind: int, at: Extent) -> InsteadRow | None:
        """The row for a chunk; of several the last one."""
        rows = self.instead.get((kind, at.pack, at.offset), [])
        n = bisect_right(rows, at.inner, key=_inner) - 1
        return rows[n] if n >= 0 and rows[n].inner == at.inner else None


class _Series:
    """The tables of a series, by the digits of its shards, and when they were compared with the store."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tables: dict[str, _Table] = {}
        self.numbers: dict[str, list[int]] = {}  # as listed last
        self.supposed: _Table | None = None  # what no record says yet
        self.listed: float | None = None  # monotonic time of the last listing
        self.settled: float | None = None  # of the last listing after a wait

    def all(self) -> list[_Table]:
        return [*self.tables.values(), *([] if self.supposed is None else [self.supposed])]

    def covering(self, pack: bytes) -> Iterator[_Table]:
        """The tables for a pack, that of the smallest shard first."""
        if self.supposed is not None:
            yield self.supposed
        for digits in sorted(self.tables, key=len, reverse=True):
            if in_shard(pack, digits):
                yield self.tables[digits]


class Places:
    """The records of places of a vault, as far as they were needed. Thread-safe.

    `sleep` and `clock` (monotonic, seconds) are those of the system, except in tests.
    """

    def __init__(
        self,
        store: Store,
        records: SignedRecords,
        *,
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._records = store, records
        self._sleep, self._clock = sleep or _wait, clock
        self._series: dict[bytes, _Series] = {}
        self._lock = threading.Lock()

    def anew(self) -> Places:
        """The same, knowing nothing yet."""
        return Places(self._store, self._records, sleep=self._sleep, clock=self._clock)

    # --- what is known, without requests --------------------------------------------------------------------

    def runs(self, kind: PackKind, pack: bytes) -> tuple[Run, ...]:
        """Where the blocks of a pack are known to be, in order; nothing if they are in the pack itself."""
        series = self._series.get(pack[:SERIES_BYTES])
        if series is not None:
            for table in series.covering(pack):
                runs = table.moved.get((kind, pack))
                if runs is not None:
                    return runs
        return ()

    def locate(self, kind: PackKind, at: Extent) -> Extent:
        """The extent with the object and the offset where the block is known to be: its pack, or a carrier.

        A block that no run holds stays where it was: reading it there says that it is gone.
        """
        run = self.run(kind, at)
        return at if run is None else at._replace(pack=run.holder, offset=at.offset + run.shift)

    def run(self, kind: PackKind, at: Extent) -> Run | None:
        """The run that is known to hold a block; None if it is where it was, or gone."""
        if at.pack[:SERIES_BYTES] not in self._series:
            return None
        run = run_at(self.runs(kind, at.pack), at.offset)
        return None if run is None or at.offset + at.stored > run.end else run

    def is_carrier(self, one: bytes) -> bool:
        """Whether blocks are known to be in this object, which is not their own pack."""
        series = self._series.get(one[:SERIES_BYTES])
        return series is not None and any(one in table.holders for table in series.all())

    def together(self, kind: PackKind, pack: bytes) -> list[bytes]:
        """The packs that lie in one carrier with the first block of this one, in their order there, or it alone."""
        runs = self.runs(kind, pack)
        if not runs:
            return [pack]
        holder = runs[0].holder
        found = {
            other: held[0].at
            for table in self._series[pack[:SERIES_BYTES]].covering(pack)
            for (other_kind, other), held in table.moved.items()
            if other_kind == kind and held[0].holder == holder
        }
        return sorted(found, key=lambda other: found[other])

    def instead(self, kind: PackKind, at: Extent) -> Extent | None:
        """Another copy of a chunk that is known to be lost; None if there is none."""
        series = self._series.get(at.pack[:SERIES_BYTES])
        if series is not None:
            for table in series.covering(at.pack):
                row = table.copy_of(kind, at)
                if row is not None and (row.extent.id, row.extent.length) == (at.id, at.length):
                    return near(row.extent)
        return None

    def suppose_moved(self, kind: PackKind, pack: bytes, runs: tuple[Run, ...]) -> None:
        """Read a pack as if a record said that its blocks are there, before one does."""
        table = self._suppose(pack)
        table.moved[kind, pack] = runs
        table.holders |= {run.holder for run in runs}

    def suppose_copy(self, kind: PackKind, lost: Extent, other: Extent) -> None:
        """Read a chunk as if a record said that another copy of it is there, before one does."""
        row = InsteadRow(lost.pack, int(kind), lost.offset, lost.inner, far(other))
        rows = self._suppose(lost.pack).instead.setdefault((int(kind), lost.pack, lost.offset), [])
        insort_right(rows, row, key=_inner)

    def _suppose(self, pack: bytes) -> _Table:
        series = self._of(pack)
        if series.supposed is None:
            series.supposed = _Table(PlacesRecord(series=pack[:SERIES_BYTES], number=0, by=bytes(16), began=0))
        return series.supposed

    # --- looking again ---------------------------------------------------------------------------------------

    def look(self, pack: bytes, *, wait: bool = False) -> None:
        """Bring the tables for a pack up to date: one listing, and one request for each newer record.

        Not if that was done in the last 30 s. With `wait`, after 2 s, as listings may be behind. Raises StoreError,
        or Damaged if the newest record can't be found or used.
        """
        series = self._of(pack)
        with series.lock:
            last = series.settled if wait else series.listed
            if last is None or self._clock() - last >= FRESH:
                if wait:
                    self._sleep(PATIENCE)
                self._list(pack[:SERIES_BYTES], series)
                series.listed = self._clock()
                if wait:
                    series.settled = series.listed
            self._load(pack[:SERIES_BYTES], series, [d for d in series.numbers if in_shard(pack, d)])

    def newest(self, one: bytes) -> list[PlacesRecord]:
        """The newest records of a whole series, by the id of its machine or of a pack: one of each shard.

        One listing, and one request for each record that is newer than the one known. Raises as `look`.
        """
        series = self._of(one)
        with series.lock:
            self._list(one[:SERIES_BYTES], series)
            series.listed = self._clock()
            self._load(one[:SERIES_BYTES], series, series.numbers)
            return [table.record for table in series.tables.values()]

    def _of(self, one: bytes) -> _Series:
        with self._lock:
            return self._series.setdefault(one[:SERIES_BYTES], _Series())

    def _list(self, series: bytes, into: _Series) -> None:
        numbers: dict[str, list[int]] = {}
        for info in self._store.list(places_folder(series)[:-1]):
            named = places_named(info.name)
            if named is not None and named[0] == series:
                numbers.setdefault(named[1], []).append(named[2])
        into.numbers = numbers

    def _load(self, series: bytes, into: _Series, shards: Iterable[str]) -> None:
        tables: Mapping[str, _Table] = into.tables
        for digits in shards:
            known = tables.get(digits)
            if known is not None and known.number >= max(into.numbers[digits]):
                continue
            folder = places_folder(series, digits)
            newest = self._records.among(Kind.PLACES, folder, into.numbers[digits])
            if newest is not None and (known is None or newest.number > known.number):
                record = decode_places(newest.content, newest.name)
                into.tables = into.tables | {digits: _Table(record)}


def _inner(row: InsteadRow) -> int:
    return row.inner


def run_at(runs: tuple[Run, ...], offset: int) -> Run | None:
    """The run that holds the byte at an offset of a pack."""
    n = bisect_right(runs, offset, key=lambda run: run.start) - 1
    return runs[n] if n >= 0 and offset < runs[n].end else None


def _wait(seconds: float) -> None:
    time.sleep(seconds)
