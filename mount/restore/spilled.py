"""What Windows knew of a file, taken apart so that a plan can spill it, and put together again."""

from __future__ import annotations

from typing import Any

from catalog.format.packs import Extent
from catalog.format.values import Hole, OutOfLine, Paged, Piece
from catalog.format.windows import Stream, Value, Windows


def packed(w: Windows | None) -> list[Any] | None:
    """As lists, numbers, text and bytes."""
    if w is None:
        return None
    streams = [(s.name.encode("utf-8", "surrogatepass"), s.size, _content(s.content)) for s in w.streams]
    values = [(*v.at,) if isinstance(v, OutOfLine) else v for v in (w.security, w.reparse, w.extended)]
    return [w.attributes, w.created, *values, streams, w.efs]


def unpacked(row: list[Any] | None) -> Windows | None:
    """The reverse. A short name is left out: a restore can't give it."""
    if row is None:
        return None
    attributes, created, security, reparse, extended, streams, efs = row
    return Windows(
        attributes, created, _value(security),
        [Stream(name.decode("utf-8", "surrogatepass"), size, _pieces(content)) for name, size, content in streams],
        _value(reparse), _value(extended), efs=efs,
    )  # fmt: skip


def _content(content: list[Piece] | Paged) -> Any:
    if isinstance(content, Paged):
        return {"paged": (content.level, (*content.at,), content.allocated, content.digest)}
    return [(p.length,) if isinstance(p, Hole) else (*p,) for p in content]


def _pieces(content: Any) -> list[Piece] | Paged:
    if isinstance(content, dict):
        level, at, allocated, digest = content["paged"]
        return Paged(level, Extent(*at), allocated, digest)
    return [Hole(*row) if len(row) == 1 else Extent(*row) for row in content]


def _value(value: Any) -> Value | None:
    return value if value is None or isinstance(value, bytes) else OutOfLine(Extent(*value))
