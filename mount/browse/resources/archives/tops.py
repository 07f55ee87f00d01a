"""What goes into an archive: places in recovery points, and the names that they get there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from catalog.format.records import Point
from catalog.format.values import Subtree
from catalog.names import LIMIT, folded, is_text, shown
from catalog.tree import ROOT_NUMBER

NAMES, MISSING = b"_names.txt", b"_missing.txt"  # what an archive says of itself
_RESERVED = (NAMES, MISSING)


class Spot(NamedTuple):
    """A place in a point, without the page that it stands in: of those there may be thousands in a basket.

    `path` from the root, without a slash at either end; `number` is that of a walk; `folder` has its pages, if any.
    """

    point: Point
    path: bytes
    number: int
    folder: Subtree | None

    @property
    def is_whole(self) -> bool:
        """Whether it is the root of the point."""
        return self.number == ROOT_NUMBER


class Top(NamedTuple):
    """A place, and its name at the top of the archive."""

    name: bytes
    spot: Spot

    @property
    def point(self) -> Point:
        return self.spot.point


def tops(spots: Sequence[Spot]) -> list[Top]:
    """The tops of an archive of these places, in the order given. A place that is given twice counts once.

    A place has its own name, a whole point that of its item. Where two would be equal on any system, they are told
    apart by item and time, and then by a number.
    """
    once = list({(spot.point.id, spot.number): spot for spot in spots}.values())
    plain = [_own_name(spot) for spot in once]
    often = _counted(plain)
    used = {folded(shown(name)) for name in _RESERVED}
    found = []
    for own, spot in zip(plain, once, strict=True):
        key = folded(shown(own))
        apart = _short(own, f" ({_item(spot.point)} {_time(spot.point)})") if often[key] > 1 or key in used else own
        name = next(one for one in _numbered(apart) if folded(shown(one)) not in used)
        used.add(folded(shown(name)))
        found.append(Top(name, spot))
    return found


def archive_name(places: Sequence[Top]) -> bytes:
    """The name of an archive, without its extension."""
    return places[0].name if len(places) == 1 else b"files"


def _own_name(spot: Spot) -> bytes:
    if not spot.is_whole:
        return spot.path.rpartition(b"/")[2]
    return f"{_item(spot.point)} {_time(spot.point)}".encode(errors="replace")


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
