"""Records of checks: from docs/format.md alone."""

from __future__ import annotations

from typing import Any

from tests.kit.independent import shapes
from tests.kit.independent.shapes import Damaged

OFFSET = shapes.number(0, 2**48 - 1)
kind, slice_number, level = shapes.number(1, 2), shapes.number(0, 255), shapes.number(0, 4)
whole, ident = shapes.whole, shapes.ident
checks = shapes.record(
    series=shapes.binary(4), number=whole, by=ident, written=whole,
    slices=(shapes.array(shapes.row(slice_number, whole, ident, whole, whole, whole)), []),
    parts=(shapes.array(shapes.row(slice_number, whole, kind, ident, whole, whole, whole)), []),
    ahead=(whole, 0),
    bad=(shapes.array(shapes.row(ident, kind, OFFSET, whole, level, whole, shapes.text)), []), bad_count=(whole, 0),
    damaged=(shapes.array(shapes.row(ident, ident, ident, whole, shapes.array(shapes.binary()))), []),
    damaged_count=(whole, 0),
)  # fmt: skip


def read_checks(name: str, content: bytes) -> dict[str, Any]:
    record: dict[str, Any] = checks(shapes.unpack(content))
    if name != f"checks/{record['series'].hex()}/{record['number']:08}":
        raise Damaged("a record of checks that is not that of its name")
    for rows in (record["slices"], record["parts"]):
        numbers = [row[0] for row in rows]
        if numbers != sorted(set(numbers)):
            raise Damaged("slices that do not ascend")
    for pack in [row[3] for row in record["parts"]] + [row[0] for row in record["bad"]]:
        if pack[:4] != record["series"]:
            raise Damaged("a pack of another series")
    if any(row[3][5] != row[0] for row in record["parts"]):
        raise Damaged("a pack of another slice")
    return record
