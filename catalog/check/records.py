"""Reads and writes the records of checks. Two machines may check at once: each keeps what the other has found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

from msgspec.structs import replace

from catalog.check.finding import Finding
from catalog.errors import Damaged, MissingData, NewerFormat, ObjectExists, ObjectNotFound, StoreError
from catalog.format.checks import (
    MOST_BAD,
    MOST_DAMAGED,
    MOST_PATHS,
    BadRow,
    ChecksRecord,
    DamagedRow,
    PartRow,
    SliceRow,
    checks_folder,
    checks_named,
    decode_checks,
    encode_checks,
    slice_of,
)
from catalog.format.numbers import written_number
from catalog.format.packs import SERIES_BYTES
from catalog.format.sealed import Kind, open_object, seal_object
from catalog.store.base import LIST_PAGE
from catalog.vault import Vault

_PARALLEL = 8  # requests at once
_FEW = 100  # series
_TRIES = 100  # numbers that are passed over because their record does not open, or because another run was faster
_REASON = 500  # characters
_READS_BLOCKS = 2  # the level from which findings belong to slices
_log = logging.getLogger("rpdrive.check")


class News(NamedTuple):
    """What a run has found since it wrote a record last.

    `slices` were read to their end, `parts` begun. `levels` below 2 were checked for the whole series. `bad` are
    all bad rows of these slices, parts and levels, `more` others, and `whole` rows that are no longer bad.
    `damaged` is None if it was not looked for.
    """

    slices: Sequence[SliceRow] = ()
    parts: Sequence[PartRow] = ()
    levels: Collection[int] = ()
    bad: Sequence[BadRow] = ()
    more: Sequence[BadRow] = ()
    whole: Sequence[BadRow] = ()
    damaged: Sequence[DamagedRow] | None = None
    ahead: int | None = None


def newest(vault: Vault, series: bytes) -> ChecksRecord | None:
    """The newest record of a series that opens; None if there is none. One listing, and one request as a rule.

    Raises StoreError.
    """
    return _among(vault, series, _numbers(vault, series))


def newest_of_all(vault: Vault, wanted: Collection[bytes] | None = None) -> list[ChecksRecord]:
    """The newest record of each series, or of those `wanted`. One listing, and one request each. Raises StoreError.

    A few series are listed by themselves where one request does not list all records.
    """
    if wanted is not None and len(wanted) < 2:
        return _read(wanted, partial(newest, vault))
    listing = vault.store.list("checks/")
    first = list(islice(listing, LIST_PAGE))
    if wanted is not None and len(first) == LIST_PAGE and len(wanted) <= _FEW:
        return _read(wanted, partial(newest, vault))
    numbers: dict[bytes, list[int]] = {}
    for info in chain(first, listing):
        named = checks_named(info.name)
        if named is not None and (wanted is None or named[0] in wanted):
            numbers.setdefault(named[0], []).append(named[1])
    return _read(numbers, lambda series: _among(vault, series, sorted(numbers[series])))


def _read(wanted: Collection[bytes], read: Callable[[bytes], ChecksRecord | None]) -> list[ChecksRecord]:
    if len(wanted) < 2:
        found = [read(series) for series in wanted]
    else:
        with ThreadPoolExecutor(_PARALLEL, "checks") as pool:
            found = list(pool.map(read, wanted))
    return [record for record in found if record is not None]


def _numbers(vault: Vault, series: bytes) -> list[int]:
    named = (checks_named(info.name) for info in vault.store.list(checks_folder(series)))
    return sorted(name[1] for name in named if name is not None and name[0] == series[:SERIES_BYTES])


def _among(vault: Vault, series: bytes, numbers: Sequence[int]) -> ChecksRecord | None:
    for number in numbers[: -_TRIES - 1 : -1]:
        name = checks_folder(series) + written_number(number)
        try:
            content = open_object(vault.keys, Kind.CHECKS, name, vault.fetch_sealed(Kind.CHECKS, name))
            return decode_checks(content, name)
        except (Damaged, MissingData, NewerFormat, ObjectNotFound) as e:
            _log.warning("the record %s is passed over: %s", name, e)
    return None


def add(vault: Vault, series: bytes, by: bytes, written: int, news: News) -> ChecksRecord:
    """Join what a run has found with the newest record, and store that as the next one.

    Returns what was stored. One listing and two requests. Raises StoreError.
    """
    for _attempt in range(_TRIES):
        numbers = _numbers(vault, series)
        number = numbers[-1] + 1 if numbers else 1
        record = joined(_among(vault, series, numbers), news, series[:SERIES_BYTES], number, by, written)
        name = checks_folder(series) + written_number(number)
        try:
            vault.store.create(name, [seal_object(vault.keys, Kind.CHECKS, name, encode_checks(record))])
        except ObjectExists:
            continue  # another run was faster: join its record, too
        return record
    raise StoreError(f"{checks_folder(series)}: others write records faster than this run can")


def joined(
    base: ChecksRecord | None, news: News, series: bytes, number: int, by: bytes, written: int
) -> ChecksRecord:
    """The record that says what `base` does and what is new. The later reading of a slice counts, with its rows.

    What `base` says was read after `written` (ns, the store's time now) was not: somebody has made it up.
    """
    base = credible(base or ChecksRecord(series=series, number=0, by=by, written=0), written)
    slices, parts = {row.slice: row for row in base.slices}, {row.slice: row for row in base.parts}
    fresh = {row.slice for row in news.slices if row.slice not in slices or slices[row.slice].read <= row.read}
    slices.update({row.slice: row for row in news.slices if row.slice in fresh})
    for row in news.parts:
        known = parts.get(row.slice)
        if known is None or (known.began, known.kind, known.pack) < (row.began, row.kind, row.pack):
            parts[row.slice] = row
    parts = {n: row for n, row in parts.items() if n not in slices or slices[n].read < row.began}
    begun = {row.slice for row in news.parts}

    def is_replaced(row: BadRow) -> bool:
        return row.level in news.levels if row.level < _READS_BLOCKS else slice_of(row.pack) in fresh

    def counts(row: BadRow) -> bool:
        return row.level < _READS_BLOCKS or slice_of(row.pack) in fresh | begun

    whole = {_place(row) for row in news.whole}
    bad = {_place(row): row for row in base.bad if not is_replaced(row) and _place(row) not in whole}
    bad.update({_place(row): row for row in news.bad if counts(row)})
    bad.update({_place(row): row for row in news.more})
    rows = [bad[place] for place in sorted(bad)]
    damaged = list(base.damaged if news.damaged is None else news.damaged)
    damaged.sort(key=lambda row: (row.machine, row.item, row.point))
    return replace(
        base, number=number, by=by, written=written,
        slices=[slices[n] for n in sorted(slices)], parts=[parts[n] for n in sorted(parts)],
        ahead=base.ahead if news.ahead is None else news.ahead,
        bad=rows[:MOST_BAD], bad_count=len(rows), damaged=damaged[:MOST_DAMAGED], damaged_count=len(damaged),
    )  # fmt: skip


def credible(record: ChecksRecord, now: int) -> ChecksRecord:
    """A record without slices and parts that were read after `now` (ns, store's time): else they never would be."""
    return replace(
        record,
        slices=[row for row in record.slices if row.read <= now],
        parts=[row for row in record.parts if row.began <= now],
    )


def _place(row: BadRow) -> tuple[int, bytes, int, int]:
    return row.kind, row.pack, row.offset, row.stored


def bad_rows(findings: Iterable[Finding], found: int) -> list[BadRow]:
    """The rows of findings that name bytes of a pack; `found` is the store's time (ns)."""
    rows = []
    for f in findings:
        if f.kind is not None and f.is_damage and len(f.pack) > SERIES_BYTES:
            reason = f"{f.what}: {f.reason}"[:_REASON].encode(errors="replace").decode()
            rows.append(BadRow(f.pack, int(f.kind), f.offset, f.stored, f.level, found, reason))
    return rows


def damaged_row(machine: bytes, item: bytes, point: bytes, files: int, paths: Sequence[bytes]) -> DamagedRow:
    return DamagedRow(machine, item, point, files, list(paths[:MOST_PATHS]))
