"""What goes into an archive: places in recovery points, and the names that they get there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from catalog.format.records import Point
from catalog.names import LIMIT, folded, is_text, shown
from catalog.points.choice import Place

NAMES, MISSING = b"_names.txt", b"_missing.txt"  # what an archive says of itself
_RESERVED = (NAMES, MISSING)


class Top(NamedTuple):
    """A place in a point, and its name at the top of the archive."""

    name: bytes
    point: Point
    place: Place


def tops(places: Sequence[tuple[Point, Place]]) -> list[Top]:
    """The tops of an archive of these places, in the order given. A place that is given twice counts once.

    A place has its own name, a whole point that of its item. Where two would be equal on any system, they are told
    apart by item and time, and then by a number.
    """
    once = {(point.id, place.number): (point, place) for point, place in places}
    plain = [_own_name(point, place) for point, place in once.values()]
    often = _counted(plain)
    used = {folded(shown(name)) for name in _RESERVED}
    found = []
    for own, (point, place) in zip(plain, once.values(), strict=True):
        key = folded(shown(own))
        apart = _short(own, f" ({_item(point)} {_time(point)})") if often[key] > 1 or key in used else own
        name = next(one for one in _numbered(apart) if folded(shown(one)) not in used)
        used.add(folded(shown(name)))
        found.append(Top(name, point, place))
    return found


def archive_name(places: Sequence[Top]) -> bytes:
    """The name of an archive, without its extension."""
    return places[0].name if len(places) == 1 else b"files"


def _own_name(point: Point, place: Place) -> bytes:
    if place.found is not None:
        return place.found.entry.name
    return f"{_item(point)} {_time(point)}".encode(errors="replace")


def _item(point: Point) -> str:
    """The name of a point's item as a file may be named anywhere."""
    text = "".join(c if c.isalnum() or c in "-_. " else "_" for c in point.item_name).strip(". ")
    return text[:60] or "files"


def _time(point: Point) -> str:
    return datetime.fromtimestamp(point.time / 1e9).astimezone().strftime("%Y-%m-%d %H.%M.%S")


def _counted(names: Sequence[bytes]) -> dict[str, int]:
    count: dict[str, int] = {}
    for name in names:
        key = folded(shown(name))
        count[key] = count.get(key, 0) + 1
    return count


def _numbered(name: bytes) -> Iterator[bytes]:
    yield name
    number = 2
    while True:
        yield _short(name, f" {number}")
        number += 1


def _short(name: bytes, mark: str) -> bytes:
    """A name with a mark before its extension, cut so that it fits."""
    tail = mark.encode(errors="replace")
    stem, dot, extension = name.rpartition(b".")
    if stem and len(extension) <= 20:
        name, tail = stem, tail + dot + extension
    head = name[: LIMIT - len(tail)]
    return (head.decode(errors="ignore").encode() if is_text(name) else head) + tail
