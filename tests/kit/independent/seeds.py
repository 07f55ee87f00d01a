"""Records of seeds and of their ends: from docs/format.md alone."""

from __future__ import annotations

from typing import Any

from tests.kit.independent import shapes
from tests.kit.independent.shapes import Damaged

whole, ident = shapes.whole, shapes.ident
seed = shapes.record(id=ident, machine=ident, items=(shapes.array(ident), []), time=whole, expires=whole)
ended = shapes.record(id=ident, machine=ident, time=whole, outcome=shapes.text)


def read_seed(name: str, content: bytes) -> dict[str, Any]:
    """The record in the content of `seeds/<id>` or `seeds/<id>.ended`."""
    tail = ".ended" if name.endswith(".ended") else ""
    record: dict[str, Any] = (ended if tail else seed)(shapes.unpack(content))
    if name != f"seeds/{record['id'].hex()}{tail}":
        raise Damaged("a record of a seed that is not that of its name")
    return record
