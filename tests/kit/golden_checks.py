"""Vectors of records of checks, and such records with one fault each."""

from __future__ import annotations

from typing import Any

import msgspec

from catalog.format.checks import (
    BadRow,
    ChecksRecord,
    DamagedRow,
    PartRow,
    SliceRow,
    checks_folder,
    decode_checks,
    encode_checks,
)
from catalog.format.numbers import written_number
from catalog.format.sealed import Kind, seal_object
from tests.kit import golden_vault as g
from tests.kit.make_page_faults import Fault, fault

SERIES = g.MACHINE[:4]


def pack(slice_number: int, name: str) -> bytes:
    """The id of a pack of the series."""
    return SERIES + bytes([0, slice_number]) + g.fixed(name)[:10]


WHOLE = ChecksRecord(
    series=SERIES,
    number=3,
    by=g.MACHINE,
    written=g.TIME + 7,
    slices=[
        SliceRow(0, g.TIME, g.MACHINE, 0, 0, 0),
        SliceRow(7, g.TIME - 1, g.VAULT_ID, 3, 90 << 20, 2),
        SliceRow(255, 2**64 - 1, g.MACHINE, 2**32, 2**45, 1),
    ],
    parts=[PartRow(9, g.TIME, 1, pack(9, "part"), 4, 5, 0), PartRow(255, 0, 2, pack(255, "last"), 0, 0, 0)],
    ahead=440,
    bad=[
        BadRow(pack(7, "bad"), 1, 8, 1_048_597, 2, g.TIME, "differs from what was written there"),
        BadRow(pack(7, "gone"), 2, 0, 0, 0, g.TIME, "the pack is missing"),
    ],
    bad_count=2,
    damaged=[DamagedRow(g.MACHINE, g.VAULT_ID, g.fixed("point"), 70_000, [b"home/\xff", b"etc/"])],
    damaged_count=1,
)
SMALL = ChecksRecord(series=SERIES, number=100_000_000, by=g.VAULT_ID, written=0)


def name_of(record: ChecksRecord) -> str:
    return checks_folder(record.series) + written_number(record.number)


def checks() -> list[dict[str, Any]]:
    rows = []
    for record in (WHOLE, SMALL):
        content, name = encode_checks(record), name_of(record)
        with g.raw_frames():
            sealed = seal_object(g.KEYS, Kind.CHECKS, name, content, salt=g.fixed("salt", 32))
        rows.append({"name": name, "content": content.hex(), "sealed": sealed.hex()} | values(content, name))
    return rows


def values(content: bytes, name: str) -> dict[str, Any]:
    """A record's fields, read with today's code."""
    return {"record": in_hex(msgspec.to_builtins(decode_checks(content, name), builtin_types=(bytes,)))}


def in_hex(value: Any) -> Any:
    """A value with its bins as hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [in_hex(one) for one in value]
    return {key: in_hex(one) for key, one in value.items()} if isinstance(value, dict) else value


def checks_faults() -> dict[str, Fault]:
    good, name = msgspec.msgpack.decode(encode_checks(WHOLE)), name_of(WHOLE)

    def read(what: str, layer: str = "message", **fields: Any) -> Fault:
        row = {key: value for key, value in (good | fields).items() if value is not ...}
        content = msgspec.msgpack.encode(row).hex()
        return fault(what, "Damaged", layer, how="checks", name=name, content=content)

    def row(what: str, field: str, at: int, value: Any, layer: str = "message") -> Fault:
        rows = [list(one) for one in good[field]]
        rows[0][at] = value
        return read(what, layer, **{field: rows})

    return {
        "checks-garbage": fault(
            "content that is no MessagePack", "Damaged", "message", how="checks", name=name, content="c1"
        ),
        "checks-of-another-number": read("another number", "checks", number=4),
        "checks-of-another-series": read("another series", "checks", series=g.VAULT_ID[:4]),
        "checks-without-written": read("no time", written=...),
        "checks-slice-256": row("slice 256", "slices", 0, 256),
        "checks-slices-unordered": row("slices that do not ascend", "slices", 0, 7, "checks"),
        "checks-parts-unordered": read("parts that do not ascend", "checks", parts=good["parts"][::-1]),
        "checks-part-of-another-slice": row("a part of another slice", "parts", 0, 8, "checks"),
        "checks-kind-of-contents": row("a pack kind 3", "parts", 2, 3),
        "checks-bad-of-another-series": row("a pack of another series", "bad", 0, g.VAULT_ID, "checks"),
        "checks-level-5": row("a level 5", "bad", 4, 5),
        "checks-path-is-text": row("a path given as text", "damaged", 4, ["home"]),
    }
