"""Ledgers: from docs/format.md alone."""

from __future__ import annotations

from typing import Any

from tests.kit.independent import shapes
from tests.kit.independent.shapes import Damaged

sequence, way = shapes.number(1, 2**63 - 1), shapes.number(1, 16)


def counts(value: Any) -> list[int]:
    if len(shapes.sequence(value)) > 16:
        raise Damaged("more than 16 counts")
    return shapes.array(shapes.whole)(value)  # type: ignore[no-any-return]


ledger = shapes.record(
    machine=shapes.ident, item=shapes.ident, number=shapes.whole, written=shapes.whole, by=(shapes.text, ""),
    forgotten=(
        shapes.array(
            shapes.row(shapes.ident, sequence, shapes.whole, shapes.whole, way, shapes.text, shapes.text)
        ), [],
    ),
    held=(
        shapes.array(
            shapes.row(
                shapes.ident, sequence, shapes.whole, shapes.or_nil(shapes.whole), shapes.text, shapes.text
            )
        ), [],
    ),
    gone=(shapes.array(shapes.row(shapes.ident, sequence, shapes.whole, way, shapes.text)), []),
    past=(shapes.array(shapes.row(sequence, sequence, shapes.whole, counts)), []),
)  # fmt: skip


def read_ledger(name: str, content: bytes) -> dict[str, Any]:
    record: dict[str, Any] = ledger(shapes.unpack(content))
    if name != f"ledger/{record['machine'].hex()}/{record['item'].hex()}/{record['number']:08}":
        raise Damaged("a ledger that is not that of its name")
    ids = {field: [row[0] for row in record[field]] for field in ("forgotten", "held", "gone")}
    if any(len(one) != len(set(one)) for one in ids.values()):
        raise Damaged("a point twice in a list")
    if set(ids["gone"]) & {*ids["forgotten"], *ids["held"]}:
        raise Damaged("a point that is gone, and is not")
    end = 0
    for first, last, *_ in record["past"]:
        if first <= end or last < first:
            raise Damaged("sequence numbers that do not ascend")
        end = last
    return record


def hidden(record: dict[str, Any]) -> set[bytes]:
    """The points that a reader does not choose."""
    return {row[0] for field in ("forgotten", "gone") for row in record[field]}
