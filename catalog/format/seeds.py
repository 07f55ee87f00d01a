"""Records of seeds: first backups that travel to the vault by another route. docs/format.md, "Seeds"."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

import msgspec

from catalog.errors import Damaged, Unwritable
from catalog.format.message import Id, Whole, decode

LONGEST = 366 * 86_400 * 10**9  # ns: a seed counts for no longer after its record was stored, whatever it says
_NAME = re.compile("seeds/([0-9a-f]{32})([.]ended)?")


class Ending(StrEnum):
    """How a seed ended, in the words of its record. A later version may write others."""

    IMPORTED = "imported"
    ABANDONED = "abandoned"


class SeedRecord(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """seeds/<id>: backups of `machine` are on their way, of the items `items`; empty: of those without points.

    `time` is when it was written (ns, UTC), `expires` until when it counts (ns, UTC, by the store's clock).
    """

    id: Id
    machine: Id
    items: list[Id] = []
    time: Whole
    expires: Whole


class SeedEnded(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """seeds/<id>.ended: nothing more comes of a seed of `machine`. `outcome` is an Ending, `time` is ns (UTC)."""

    id: Id
    machine: Id
    time: Whole
    outcome: str


class SeedName(NamedTuple):
    """The name of an object of a seed."""

    id: bytes
    is_ended: bool = False

    def __str__(self) -> str:
        return f"seeds/{self.id.hex()}" + (".ended" if self.is_ended else "")


_encoder = msgspec.msgpack.Encoder()


@cache
def _decoder(cls: type[Any]) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(cls)


def seed_named(name: str) -> SeedName | None:
    """What the name of an object of a seed says; None for another name."""
    m = _NAME.fullmatch(name)
    return SeedName(bytes.fromhex(m[1]), m[2] is not None) if m else None


def counts_until(expires: int, stored: int) -> int:
    """Until when a seed counts whose record was stored at `stored`: ns, by the store's clock."""
    return min(expires, stored + LONGEST)


def encode_seed(record: SeedRecord | SeedEnded) -> bytes:
    """The record's bytes. Raises Unwritable if no reader would accept them."""
    name = str(SeedName(record.id, isinstance(record, SeedEnded)))
    try:
        data = _encoder.encode(record)
        if isinstance(record, SeedRecord):
            decode_seed(data, name)
        else:
            decode_ended(data, name)
    except (OverflowError, UnicodeEncodeError, Damaged) as e:
        raise Unwritable(f"the record of a seed could not be read again: {e}") from e
    return data


def decode_seed(data: bytes | bytearray | memoryview, name: str) -> SeedRecord:
    """The record in the content of the object of this name. Raises Damaged."""
    record: SeedRecord = decode(_decoder(SeedRecord), data, name)
    if str(SeedName(record.id)) != name:
        raise Damaged(f"{name} holds a different record than its name says")
    return record


def decode_ended(data: bytes | bytearray | memoryview, name: str) -> SeedEnded:
    """The same, for the record of an end. Raises Damaged."""
    record: SeedEnded = decode(_decoder(SeedEnded), data, name)
    if str(SeedName(record.id, is_ended=True)) != name:
        raise Damaged(f"{name} holds a different record than its name says")
    return record
