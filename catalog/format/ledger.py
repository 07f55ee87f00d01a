"""Ledgers: which points of an item were taken away, and which must stay. docs/format.md, "Ledger".

Fields and elements that this version doesn't know are kept: `decode_ledger` returns them, and whoever adds the next
version of a ledger writes them again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, NamedTuple, TypeAlias

import msgspec

from catalog.errors import Damaged
from catalog.format.message import Id, Whole, decode
from catalog.format.numbers import HIGHEST_NUMBER, parsed_number, written_number

MOST_WAYS = 16
Sequence: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=HIGHEST_NUMBER)]
Way: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MOST_WAYS)]
Counts: TypeAlias = Annotated[list[Whole], msgspec.Meta(max_length=MOST_WAYS)]
_NAME = re.compile("ledger/([0-9a-f]{32})/([0-9a-f]{32})/([0-9]+)")


class How(IntEnum):
    """Why a point was taken away. Readers show others as 1."""

    BY_HAND = 1
    BY_POLICY = 2
    SHORTENED = 3  # by a policy that keeps less than the one before it
    MISSING = 4  # it was not in the vault, and a person said that this is so
    DAMAGED = 5  # its record did not open, and a person said that it is lost


class ForgottenRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A point that is not shown any more, and that may go once `until` has passed. Times are the store's (ns)."""

    point: Id
    sequence: Sequence
    since: Whole
    until: Whole
    how: Way
    reason: str
    by: str


class HeldRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A point that must not go before `until` (ns); None: not before it is released."""

    point: Id
    sequence: Sequence
    since: Whole
    until: Whole | None
    reason: str
    by: str


class GoneRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A point that is no point any more, also if the store still has its object."""

    point: Id
    sequence: Sequence
    since: Whole
    how: Way
    reason: str


class PastRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Sequence numbers `first` to `last` of points that are gone, the last of them at `since` (ns).

    `removed` has how many of them went, by way: the first element is for the way 1.
    """

    first: Sequence
    last: Sequence
    since: Whole
    removed: Counts


class LedgerRecord(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """ledger/<machine>/<item>/<number>: what was taken from an item. `written` is the store's time (ns)."""

    machine: Id
    item: Id
    number: Whole
    written: Whole
    by: str = ""
    forgotten: list[ForgottenRow] = []
    held: list[HeldRow] = []
    gone: list[GoneRow] = []
    past: list[PastRow] = []


Unknown: TypeAlias = Mapping[Any, Any]
"""Fields by their names; and, by list and what a row begins with, the elements that follow the known ones."""


class ReadLedger(NamedTuple):
    """A ledger, and what in it this version doesn't know."""

    record: LedgerRecord
    unknown: Unknown


LISTS: dict[str, type[msgspec.Struct]] = {
    "forgotten": ForgottenRow, "held": HeldRow, "gone": GoneRow, "past": PastRow,
}  # fmt: skip
_encoder = msgspec.msgpack.Encoder()
_plain = msgspec.msgpack.Decoder(dict[str, Any])


@cache
def _decoder() -> msgspec.msgpack.Decoder[LedgerRecord]:
    return msgspec.msgpack.Decoder(LedgerRecord)  # when one is read: few vaults have such records


def fault_of(record: LedgerRecord) -> str | None:
    """What is wrong with a ledger as a whole; None if nothing is."""
    forgotten, held, gone = ([row.point for row in rows] for rows in (record.forgotten, record.held, record.gone))
    if any(len(set(ids)) < len(ids) for ids in (forgotten, held, gone)):
        return "names a point twice"
    if not set(gone).isdisjoint(forgotten) or not set(gone).isdisjoint(held):
        return "says of a point both that it is gone and that it is not"
    if any(row.last < row.first for row in record.past) or any(a.last >= b.first for a, b in pairwise(record.past)):
        return "gives sequence numbers that do not ascend"
    return None


def encode_ledger(record: LedgerRecord, unknown: Unknown | None = None) -> bytes:
    """The content of the record. `unknown` is what an earlier version of it had, which is kept."""
    if not unknown:
        return _encoder.encode(record)
    map_: dict[str, Any] = msgspec.to_builtins(record, builtin_types=(bytes,))
    for key, value in unknown.items():
        if isinstance(key, str):
            map_[key] = value
    for name in LISTS:
        for row in map_.get(name, ()):
            row.extend(unknown.get(_key(name, row), ()))
    return _encoder.encode(map_)


def decode_ledger(data: bytes, name: str) -> ReadLedger:
    """The record in the content of the signed object of this name. Raises Damaged."""
    record = decode(_decoder(), data, name)
    if ledger_folder(record.machine, record.item) + written_number(record.number) != name:
        raise Damaged(f"{name} holds a different record than its name says")
    fault = fault_of(record)
    if fault is not None:
        raise Damaged(f"{name} {fault}")
    map_ = decode(_plain, data, name)
    unknown: dict[Any, Any] = {k: v for k, v in map_.items() if k not in LedgerRecord.__struct_fields__}
    for field, cls in LISTS.items():
        width = len(cls.__struct_fields__)
        unknown |= {_key(field, row): row[width:] for row in map_.get(field, ()) if len(row) > width}
    return ReadLedger(record, unknown)


def _key(name: str, row: list[Any]) -> tuple[Any, ...]:
    """What tells a row of a list from the others."""
    return (name, *row[: 2 if name == "past" else 1])


def ledger_folder(machine: bytes, item: bytes) -> str:
    """The folder of the ledgers of an item, with a slash."""
    return f"ledger/{machine.hex()}/{item.hex()}/"


def ledger_named(name: str) -> tuple[bytes, bytes, int] | None:
    """The machine, the item and the number in the name of a ledger; None for another name."""
    m = _NAME.fullmatch(name)
    number = parsed_number(m[3]) if m else None
    return (bytes.fromhex(m[1]), bytes.fromhex(m[2]), number) if m and number is not None else None
