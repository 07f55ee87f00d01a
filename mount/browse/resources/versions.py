"""The versions of one path over all points of an item."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from catalog.errors import Damaged, RpdriveError, UsageError
from catalog.format.pages import Entry, Leaf
from catalog.format.records import Point
from catalog.history.overlay import Version, content_id, distinct, first, follow, held, last, root_strands
from catalog.history.variants import likeness
from catalog.points.opening import read_points
from mount.browse.resources.folders import SAFE
from mount.browse.resources.opened import Opened
from mount.browse.resources.points import names_of
from mount.browse.resources.scanning import age, shape
from mount.browse.resources.wire import name_of, path64, when
from mount.view.versions import PrefetchingSource

MOST = 2000  # versions shown, the newest
NEWEST = 1000  # points that are compared at first
_PROBLEMS = 100


class VersionRow(msgspec.Struct, kw_only=True):
    """One content of a path, or one state of a folder; size, time and kind are those in `point`, the first with it.

    It is in `points` points from the first to `last_point`, not always in all between. `gap_before`: the path is
    missing in the point before the first.
    """

    point: str
    last_point: str
    kind: str
    size: int
    time: str | None
    points: int
    since: str | None = msgspec.field(name="from")
    until: str | None = msgspec.field(name="to")
    gap_before: bool


class VersionList(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The versions of a path, by the first point that has each. `missing`: the number of points without it.

    `older` is how many older points were not looked at. `problems` says which points could not be read, or what of
    them.
    """

    path: str
    name_bytes: str | None = None
    path64: str
    points_total: int
    older: int
    rows: list[VersionRow]
    left_out: int
    missing: int
    problems: list[str]


def versions(opened: Opened, machine: str, item: str, path: bytes, most: int = NEWEST) -> VersionList:
    """The versions of a path (absolute) in an item, in its newest points, at `most` so many. Reads no contents.

    2 listings, 1 request for each record not seen before, and the pages on the way, each once, however many points
    share it. Raises NotFound for ids that are none, UsageError, and StoreError.
    """
    if not machine or not item:
        raise UsageError("versions are those of one item", "choose a machine and an item")
    names = names_of(opened, machine, item)
    points, unread = read_points(opened.vault, names[-most:])
    points.sort(key=age)
    problems = [f"a recovery point can't be read: {error}" for error in unread]
    unknown = 0  # the points of which it is not known whether they have the path

    def lost(which: int, error: RpdriveError) -> None:
        nonlocal unknown
        unknown |= which
        problems.append(f"the way to it in {which.bit_count():,} points can't be read: {error}")

    strands = root_strands(points, lost)
    if path == b"/":
        rows = [
            _row(points, s.points, 0, ("folder", s.folder.totals.bytes, None))
            for s in sorted(strands, key=lambda s: first(s.points))
        ]
        has, here = (1 << len(points)) - 1, b"/"
    else:
        followed = follow(PrefetchingSource(opened.reader), strands, path, lost)
        has, here = held(followed.variants), followed.path
        absent = (1 << len(points)) - 1 & ~has & ~unknown
        rows = [_version(points, version, absent) for version in distinct(followed.variants, _identity)]
    missing = (1 << len(points)) - 1 & ~has & ~unknown
    text, raw = name_of(here)
    return VersionList(
        path=text, name_bytes=raw, path64=path64(here), points_total=len(names),
        older=max(len(names) - most, 0), rows=rows[-MOST:],
        left_out=max(len(rows) - MOST, 0), missing=missing.bit_count(), problems=problems[:_PROBLEMS],
    )  # fmt: skip


def _identity(leaf: Leaf, entry: Entry) -> bytes:
    try:
        return content_id(leaf, entry)
    except Damaged:
        return b"malformed " + likeness(leaf, entry)


def _version(points: Sequence[Point], version: Version, absent: int) -> VersionRow:
    return _row(points, version.points, absent, shape(version.variant.leaf, version.variant.entry))


def _row(points: Sequence[Point], has: int, absent: int, shown: tuple[str, int, int | None]) -> VersionRow:
    since, until = points[first(has)], points[last(has)]
    kind, size, time = shown
    return VersionRow(
        point=since.id.hex(), last_point=until.id.hex(), kind=kind, size=min(size, SAFE), time=when(time),
        points=has.bit_count(), since=when(since.time or 1), until=when(until.time or 1),
        gap_before=first(has) > 0 and bool(absent >> (first(has) - 1) & 1),
    )  # fmt: skip
