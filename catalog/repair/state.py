"""Adds rows to the records of places of a series: the next record of each shard, if nobody else was faster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from catalog.errors import ObjectChanged
from catalog.format.admins import Admin
from catalog.format.blocks import PackKind
from catalog.format.numbers import written_number
from catalog.format.packs import Extent
from catalog.format.places import (
    EVIDENCE,
    HIDDEN,
    BrokenRow,
    DeadRow,
    InsteadRow,
    PlacesRecord,
    encode_places,
    in_shard,
    places_folder,
    places_named,
)
from catalog.format.sealed import Kind
from catalog.store.reading import time_to_read
from catalog.vault import Vault

G = HIDDEN  # ns: upkeep deletes what it has hidden for as long
WAIT = 70 * 3600 * 10**9  # ns: nearly as long as it waits with a pack of which the blocks are in carriers
SLACK = EVIDENCE  # ns; a run may delete for a part of this time after its record was written
TRIES = 5  # if other runs write records meanwhile


class Rows(NamedTuple):
    """Rows to add. An `instead` row replaces one for the same chunk.

    `back` are packs (kind and id) that are to be read from their own objects again, and not from carriers.
    """

    broken: Sequence[BrokenRow]
    instead: Sequence[InsteadRow]
    back: Sequence[tuple[int, bytes]] = ()

    def __bool__(self) -> bool:
        return bool(self.broken or self.instead or self.back)


class Signer(NamedTuple):
    """Who writes records: an admin with its private key, and the machine that runs this."""

    admin: Admin
    private: bytes
    by: bytes


class State:
    """The newest records of places of a series. `now` is the store's time before they were read.

    If nothing is to be written (`dry`), it may be this machine's time, where the store's takes a write.
    """

    def __init__(self, vault: Vault, series: bytes, *, dry: bool = False) -> None:
        self.series, self.now = series, time_to_read(vault.store) if dry else vault.store.now()
        created = {info.name: info.modified for info in vault.store.list(places_folder(series)[:-1])}
        self.highest: dict[
            str, int
        ] = {}  # numbers in names, by the digits of shards: also of records that don't open
        for name in created:
            named = places_named(name)
            if named is not None and named[0] == series:
                self.highest[named[1]] = max(named[2], self.highest.get(named[1], 0))
        self.records = [
            _settled(record, created.get(_name(record), self.now)) for record in vault.places.newest(series)
        ]
        self._written = max(created.values(), default=0)
        self._dead: dict[tuple[int, bytes], list[DeadRow]] = {}
        self._leaving: dict[tuple[int, bytes], int] = {}
        self._runs: dict[tuple[int, bytes], list[tuple[int, int]]] = {}
        self._broken: set[tuple[int, bytes, int | None]] = set()
        for record in self.records:
            self._broken.update((row.kind, row.pack, row.offset) for row in record.broken)
            for row in record.dead:
                self._dead.setdefault((row.kind, row.pack), []).append(row)
            for gone in record.leaving:
                self._leaving[gone.kind, gone.object] = gone.since
            for moved in record.moved:
                self._runs[moved.kind, moved.pack] = [(r.start, r.start + r.length) for r in moved.runs]

    def is_usable(self, kind: PackKind, at: Extent) -> bool:
        """Whether a block may stand in for a lost one: upkeep does not delete it without seeing that.

        What has been hidden for nearly 7 days may be about to be deleted by a run that began before.
        """
        place, end = (int(kind), at.pack), at.offset + at.stored
        runs = self._runs.get(place)
        if runs is not None and not any(start <= at.offset and end <= stop for start, stop in runs):
            return False
        if runs is None and place in self._leaving:
            return False
        for row in self._dead.get(place, ()):
            covers = not row.spans or any(start < end and at.offset < stop for start, stop in row.spans)
            if covers and row.since is not None and self.now - row.since > G - SLACK:
                return False
        return True

    def stays(self, kind: int, pack: bytes) -> bool:
        """Whether no run of upkeep can be about to delete the object of a pack that was moved.

        It may if it has read that the pack has left for 72 hours; then it does soon after it has written a record.
        """
        since = self._leaving.get((int(kind), pack))
        return since is None or self.now - since < WAIT or self.now - self._written > SLACK

    def is_broken(self, kind: int, pack: bytes, offset: int | None) -> bool:
        """Whether a record says already that a block, or all of its pack, is broken."""
        return (int(kind), pack, None) in self._broken or (int(kind), pack, offset) in self._broken

    def shard_of(self, pack: bytes) -> PlacesRecord | None:
        """The record that says most about a pack; None if there is none for it."""
        some = [record for record in self.records if in_shard(pack, record.digits)]
        return max(some, key=lambda record: len(record.digits), default=None)


def _settled(record: PlacesRecord, created: int) -> PlacesRecord:
    """A record in which 0 is replaced by the time that it means: that of the record (ns, by the store's clock)."""
    return replace(
        record,
        dead=[replace(row, since=created) if row.since == 0 else row for row in record.dead],
        leaving=[replace(row, since=created) if row.since == 0 else row for row in record.leaving],
    )


def _name(record: PlacesRecord) -> str:
    return places_folder(record.series, record.digits) + written_number(record.number)


def add_rows(vault: Vault, series: bytes, rows: Rows, signer: Signer, began: int) -> list[str]:
    """Write rows into the next records of places. Returns the names of these records.

    `began` is the store's time before the points were listed. If another run writes a record meanwhile, the rows
    are added to that. Raises ObjectChanged if that happens again and again, Unwritable if there are too many rows,
    or StoreError.
    """
    written = list[str]()
    for _ in range(TRIES):
        state = State(vault, series)
        shards: dict[str, _Shard] = {}
        for broken in rows.broken:
            if not state.is_broken(broken.kind, broken.pack, broken.offset):
                _of(shards, state.shard_of(broken.pack)).broken.append(broken)
        known = {row for record in state.records for row in record.instead}
        for row in rows.instead:
            target = Extent(row.extent.pack, row.extent.offset, row.extent.stored, 0, 1, b"")
            if row not in known and state.is_usable(PackKind(row.kind), target):
                _of(shards, state.shard_of(row.pack)).instead.append(row)
        for kind, pack in rows.back:
            if state.stays(kind, pack):
                _of(shards, state.shard_of(pack)).back.append((kind, pack))
        try:
            for shard in shards.values():
                written.append(_add(vault, series, shard, signer, began))
            return written
        except ObjectChanged:
            continue
    raise ObjectChanged(
        f"records of {places_folder(series)} were added by other runs again and again", "try again later"
    )


class _Shard(NamedTuple):
    """Rows to add to one record."""

    base: PlacesRecord | None
    broken: list[BrokenRow]
    instead: list[InsteadRow]
    back: list[tuple[int, bytes]]


def _of(shards: dict[str, _Shard], base: PlacesRecord | None) -> _Shard:
    return shards.setdefault("" if base is None else base.digits, _Shard(base, [], [], []))


def _key(row: InsteadRow) -> tuple[int, bytes, int, int]:
    return row.kind, row.pack, row.offset, row.inner


def _add(vault: Vault, series: bytes, shard: _Shard, signer: Signer, began: int) -> str:
    """Write the record after the base of a shard, with more rows."""
    base = shard.base
    if base is None:
        base = PlacesRecord(series=series, number=0, by=signer.by, began=began)
    new = {_key(row) for row in shard.instead} if base.instead else set()
    kept = [row for row in base.instead if _key(row) not in new]
    record = replace(base, by=signer.by, broken=[*base.broken, *shard.broken], instead=[*kept, *shard.instead])
    record = _with_back(record, set(shard.back))
    return write(vault, record, signer, after=base.number)


def _with_back(record: PlacesRecord, back: set[tuple[int, bytes]]) -> PlacesRecord:
    """A record with packs read from their own objects again.

    They stay hidden, as packs do that come back: what was cut from them must not be used again.
    """
    if not back:
        return record
    hidden = [DeadRow(pack, kind, None, []) for kind, pack in sorted(back)]
    return replace(
        record,
        dead=[*(row for row in record.dead if (row.kind, row.pack) not in back), *hidden],
        moved=[row for row in record.moved if (row.kind, row.pack) not in back],
        leaving=[row for row in record.leaving if (row.kind, row.object) not in back],
    )


def write(vault: Vault, record: PlacesRecord, signer: Signer, *, after: int) -> str:
    """Sign a record and store it under the next number. Raises ObjectChanged if somebody else was faster."""

    def content(number: int) -> bytes:
        return encode_places(replace(record, number=number))

    folder = places_folder(record.series, record.digits)
    number = vault.signed.add(Kind.PLACES, folder, content, signer.admin, signer.private, after=after)
    return f"{folder}{written_number(number)}"
