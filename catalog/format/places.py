"""Records of places: where the blocks of a series of packs are now. docs/format.md, "Places"."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from typing import Annotated, TypeAlias

import msgspec

from catalog.errors import Damaged
from catalog.format.message import MAX_OFFSET, Id, Length, Offset, Stored, Whole, decode
from catalog.format.numbers import parsed_number, written_number
from catalog.format.packs import SERIES_BYTES, Extent

HIDDEN = 7 * 86_400 * 10**9  # ns: how long a block stays hidden before it is deleted, at least
EVIDENCE = HIDDEN // 4  # 42 hours: how old a look at the vault may be that a point rests on
MAX_DIGITS = 4  # of the random part of pack ids, in the name of a shard
Series: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=SERIES_BYTES, max_length=SERIES_BYTES)]
Kind: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2)]  # PackKind.DATA or PackKind.TREE
_NAME = re.compile("places/([0-9a-f]{8})(?:[.]([0-9a-f]{1,4}))?/([0-9]+)")


class DeadRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Blocks that nothing referred to when that was looked at last. Writers must not refer to them any more."""

    pack: Id
    kind: Kind
    since: Whole | None
    spans: list[tuple[Offset, Offset]]


class RunRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Blocks of a pack that lie in a carrier, end to end: `length` bytes from `start` of the pack are at `at`."""

    carrier: Whole
    start: Offset
    length: Length
    at: Offset


class MovedRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A pack whose blocks lie in carriers."""

    pack: Id
    kind: Kind
    runs: Annotated[list[RunRow], msgspec.Meta(min_length=1)]


class LeavingRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """An object that nothing is read from any more."""

    object: Id
    kind: Kind
    since: Whole


class FarExtent(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """An extent with the id of its pack."""

    pack: Id
    offset: Offset
    stored: Stored
    inner: Offset
    length: Length
    id: Id


class InsteadRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Another copy of a chunk that is lost."""

    pack: Id
    kind: Kind
    offset: Offset
    inner: Offset
    extent: FarExtent


class BrokenRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A block that can't be read; all of the pack if the offset is None."""

    pack: Id
    kind: Kind
    offset: Offset | None
    found: Whole
    reason: str


class PlacesRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """places/<series>/<number>: the state of a series of packs, or of a shard of it, those whose ids have `digits`.

    `began` is the store's time before the points were listed that the record rests on.
    """

    series: Series
    digits: str = ""
    number: Whole
    by: Id
    began: Whole
    dead: list[DeadRow] = []
    carriers: list[Id] = []
    moved: list[MovedRow] = []
    leaving: list[LeavingRow] = []
    instead: list[InsteadRow] = []
    broken: list[BrokenRow] = []


_encoder = msgspec.msgpack.Encoder()


@cache
def _decoder() -> msgspec.msgpack.Decoder[PlacesRecord]:
    return msgspec.msgpack.Decoder(PlacesRecord)  # when one is read: few vaults have such records


def encode_places(places: PlacesRecord) -> bytes:
    return _encoder.encode(places)


def decode_places(data: bytes, name: str) -> PlacesRecord:
    """The record in the content of the signed object of this name. Raises Damaged."""
    places = decode(_decoder(), data, name)
    if places_folder(places.series, places.digits) + written_number(places.number) != name:
        raise Damaged(f"{name} holds a different record than its name says")
    for row in places.moved:
        _check_runs(row, len(places.carriers), name)
    if len({(row.kind, row.pack) for row in places.moved}) < len(places.moved):
        raise Damaged(f"{name} says twice where a pack is")
    return places


def _check_runs(row: MovedRow, carriers: int, name: str) -> None:
    bad = any(r.carrier >= carriers or max(r.start, r.at) + r.length > MAX_OFFSET for r in row.runs) or any(
        a.start + a.length > b.start for a, b in pairwise(row.runs)
    )
    if bad:
        raise Damaged(f"{name} gives impossible places for pack {row.pack.hex()}")


def places_folder(series: bytes, digits: str = "") -> str:
    """The folder of the records of a series, or of one of its shards, with a slash."""
    return f"places/{series.hex()}" + (f".{digits}/" if digits else "/")


def places_named(name: str) -> tuple[bytes, str, int] | None:
    """Series, digits of the shard and number in the name of a record of places; None for another name."""
    m = _NAME.fullmatch(name)
    number = parsed_number(m[3]) if m else None
    return (bytes.fromhex(m[1]), m[2] or "", number) if m and number is not None else None


def in_shard(pack: bytes, digits: str) -> bool:
    """Whether a pack belongs to the shard with these digits: all do if there are none."""
    return pack.hex()[2 * SERIES_BYTES + 2 :].startswith(digits)


def far(at: Extent) -> FarExtent:
    return FarExtent(*at)


def near(at: FarExtent) -> Extent:
    return Extent(at.pack, at.offset, at.stored, at.inner, at.length, at.id)
