"""Records of checks: which packs were read to check them, when, and what was found. docs/format.md, "Checks".

They are information: anybody who makes backups can write one, and nothing is deleted or repaired because of it.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from typing import Annotated, TypeAlias

import msgspec

from catalog.errors import Damaged, Unwritable
from catalog.format.message import Id, Offset, Whole, decode
from catalog.format.numbers import parsed_number, written_number
from catalog.format.packs import SERIES_BYTES
from catalog.format.places import Kind, Series

SLICES = 256  # by the 11th and 12th hex digit of pack ids
SLICE_AT = SERIES_BYTES + 1  # the byte of a pack id that is its slice
MOST_BAD = 10_000  # rows
MOST_DAMAGED = 10_000  # rows
MOST_PATHS = 100  # of a row
SliceNumber: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=SLICES - 1)]
CheckLevel: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=4)]
_NAME = re.compile("checks/([0-9a-f]{8})/([0-9]+)")


class SliceRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """The last time that every block in use of a slice was read: `read` is the store's time before it began (ns).

    `by` is the machine that read it. `packs`, `bytes` and `faults` count what was read and found then.
    """

    slice: SliceNumber
    read: Whole
    by: Id
    packs: Whole
    bytes: Whole
    faults: Whole


class PartRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A slice whose reading was stopped after the pack `pack` of kind `kind`: data packs come first, by id."""

    slice: SliceNumber
    began: Whole
    kind: Kind
    pack: Id
    packs: Whole
    bytes: Whole
    faults: Whole


class BadRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Bytes of a pack that are not what was written: a block, or from `offset` 0 with `stored` 0 all of the pack.

    `level` is that of the check that found it, `found` the store's time. `reason` is for people.
    """

    pack: Id
    kind: Kind
    offset: Offset
    stored: Whole
    level: CheckLevel
    found: Whole
    reason: str


class DamagedRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A point that refers to bad bytes: how many files it can't give back, and the first of their paths.

    A path is that of a folder, with a slash at its end, if the folder's own pages can't be read.
    """

    machine: Id
    item: Id
    point: Id
    files: Whole
    paths: list[bytes]


class ChecksRecord(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """checks/<series>/<number>: what is known of a series of packs.

    `written` is the store's time (ns). `ahead` is by how many thousandths of a slice runs with a share of the
    vault have read more than their share. `bad_count` and `damaged_count` count rows that are left out, too.
    """

    series: Series
    number: Whole
    by: Id
    written: Whole
    slices: list[SliceRow] = []
    parts: list[PartRow] = []
    ahead: Whole = 0
    bad: list[BadRow] = []
    bad_count: Whole = 0
    damaged: list[DamagedRow] = []
    damaged_count: Whole = 0


_encoder = msgspec.msgpack.Encoder()


@cache
def _decoder() -> msgspec.msgpack.Decoder[ChecksRecord]:
    return msgspec.msgpack.Decoder(ChecksRecord)  # when one is read: most commands read none


def slice_of(pack: bytes) -> int:
    """The slice of a pack, by its id."""
    return pack[SLICE_AT]


def encode_checks(checks: ChecksRecord) -> bytes:
    """The record's bytes. Raises Unwritable if no reader would accept them."""
    try:
        data = _encoder.encode(checks)
        decode_checks(data, checks_folder(checks.series) + written_number(checks.number))
    except (OverflowError, UnicodeEncodeError, Damaged) as e:
        raise Unwritable(f"the record of a check could not be read again: {e}") from e
    return data


def decode_checks(data: bytes | bytearray | memoryview, name: str) -> ChecksRecord:
    """The record in the content of the object of this name. Raises Damaged."""
    checks = decode(_decoder(), data, name)
    if checks_folder(checks.series) + written_number(checks.number) != name:
        raise Damaged(f"{name} holds a different record than its name says")
    for numbers in ([row.slice for row in checks.slices], [row.slice for row in checks.parts]):
        if any(a >= b for a, b in pairwise(numbers)):
            raise Damaged(f"{name} does not list its slices in order")
    packs = [*(row.pack for row in checks.parts), *(row.pack for row in checks.bad)]
    if any(pack[:SERIES_BYTES] != checks.series for pack in packs):
        raise Damaged(f"{name} lists a pack of another series")
    if any(slice_of(row.pack) != row.slice for row in checks.parts):
        raise Damaged(f"{name} lists a pack of another slice")
    return checks


def checks_folder(series: bytes) -> str:
    """The folder of the records of a series, with a slash. `series` may be the id of its machine or of a pack."""
    return f"checks/{series[:SERIES_BYTES].hex()}/"


def checks_named(name: str) -> tuple[bytes, int] | None:
    """Series and number in the name of a record of checks; None for another name."""
    m = _NAME.fullmatch(name)
    number = parsed_number(m[2]) if m else None
    return (bytes.fromhex(m[1]), number) if m and number is not None else None
