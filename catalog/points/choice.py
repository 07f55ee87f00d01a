"""Resolves what users type: a recovery point among names, a path in one."""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple

from catalog.errors import AmbiguousName, NotFound
from catalog.format.pages import Entry, Leaf
from catalog.format.records import PointName
from catalog.format.values import NodeKind, Subtree
from catalog.names import is_marked, meant, shows_as
from catalog.tree import ROOT_NUMBER, Found, PageSource, leaves, lookup

_ON_DRIVE = re.compile(rb"([A-Za-z]):(\\.*)", re.DOTALL)


# --- POINT[:PATH] -------------------------------------------------------------------------------------------


def split_place(text: str) -> tuple[str, bytes]:
    """Split POINT[:PATH] into the point and the path (bytes, b"" if there is none).

    Times contain colons too. The point ends before the first `:/` if what precedes it can be a point; else it is
    the longest start, up to a colon, that can be one (`2026-11-17 08:30:home`, `latest:home/a:b`). A Windows path
    is converted to the point's form: `C:\\Users` to `/C/Users`.
    """
    point, path = _apart(text)
    drive = _ON_DRIVE.fullmatch(path)
    return (point, b"/" + drive[1].upper() + drive[2].replace(b"\\", b"/")) if drive else (point, path)


def _apart(text: str) -> tuple[str, bytes]:
    head, sep, _ = text.partition(":/")
    if sep and can_be_point(head):
        return head, os.fsencode(text[len(head) + 1 :])
    if can_be_point(text):
        return text, b""
    end = len(text)
    while (end := text.rfind(":", 0, end)) >= 0:
        if can_be_point(text[:end]):
            return text[:end], os.fsencode(text[end + 1 :])
    head, _, path = text.partition(":")
    return head, os.fsencode(path)


def can_be_point(text: str) -> bool:
    """Whether a text has the form of `latest`, an id or its beginning, or a time."""
    hexadecimal = bool(text) and all(c in "0123456789abcdefABCDEF" for c in text)
    return text == "latest" or hexadecimal or bool(time_ends(text))


class Place(NamedTuple):
    """The end of a path: the root (`found` is None) or an entry. `folder` is set for a folder with entries.

    `above` are the folders on the way to the entry, without the root.
    """

    path: bytes
    found: Found | None
    folder: Subtree | None
    above: tuple[Found, ...] = ()

    @property
    def is_folder(self) -> bool:
        return self.found is None or self.found.entry.kind == NodeKind.FOLDER

    @property
    def number(self) -> int:
        return self.found.number if self.found else ROOT_NUMBER


def find(source: PageSource, root: Subtree | None, path: bytes) -> Place:
    """Find `path` below a root, without following symlinks. Raises NotFound, which names the missing part."""
    place = Place(b"", None, root)
    for name in path.split(b"/"):
        if name in (b"", b"."):
            continue
        if not place.is_folder:
            raise _not_a_folder(place, path)
        found = lookup_meant(source, place.folder, place.number, name)
        if found is None:
            here = place.path + b"/" + name
            raise NotFound(
                f"there is no {path_text(here)} in this recovery point",
                elsewhere(b"/" + path) or "see `rpdrive ls` of its folder",
            )
        above = (*place.above, place.found) if place.found is not None else ()
        place = Place(place.path + b"/" + found.entry.name, found, _subtree(found.leaf, found), above)
    return place


def _not_a_folder(place: Place, path: bytes) -> NotFound:
    entry = place.found.entry if place.found is not None else None
    if entry is not None and entry.kind == NodeKind.SYMLINK and isinstance(entry.content, bytes):
        return NotFound(
            f"{path_text(place.path)} is not a folder in this recovery point, but a symlink to "
            f"{path_text(entry.content)}",
            elsewhere(b"/" + path) or "name the path that the link leads to",
        )
    return NotFound(
        f"{path_text(place.path)} is not a folder in this recovery point", "see `rpdrive ls` of the folder above"
    )


def elsewhere(path: bytes) -> str:
    """Advice for a path that no point has, but which leads through a symlink here; "" if it doesn't.

    A backup follows the symlinks in the paths that it is given, and saves what they lead to under its own path.
    """
    try:
        real = os.path.realpath(path)
        there = os.path.lexists(real)
    except (OSError, ValueError):  # a NUL, a loop
        return ""
    plain = b"/" + b"/".join(name for name in path.split(b"/") if name not in (b"", b"."))
    if not there or real == plain:
        return ""
    return f"on this machine it is {path_text(real)}: try that path"


def lookup_meant(source: PageSource, folder: Subtree | None, number: int, name: bytes) -> Found | None:
    """An entry by its name, else by its name as spelled on a Windows drive; None if there is none."""
    found = lookup(source, folder, number, name)
    other = meant(name) if found is None else None
    if other is not None:
        found = lookup(source, folder, number, other)
    if found is None and is_marked(name):
        every = (entry.name for page in leaves(source, folder, number) for entry in page.leaf.entries)
        other = next((true for true in every if shows_as(true, name)), None)
        found = None if other is None else lookup(source, folder, number, other)
    return found


def _subtree(leaf: Leaf, found: Found) -> Subtree | None:
    return leaf.subtree(found.entry) if found.entry.kind == NodeKind.FOLDER else None


def entries(source: PageSource, place: Place) -> Iterator[tuple[Leaf, Entry]]:
    """The entries that `ls` lists: those of a folder, by name, or the entry itself if it is not a folder."""
    if place.found is not None and not place.is_folder:
        yield place.found.leaf, place.found.entry
        return
    for page in leaves(source, place.folder, place.number):
        for entry in page.leaf.entries:
            yield page.leaf, entry


def path_text(path: bytes) -> str:
    """A path as text, for messages."""
    return path.decode(errors="surrogateescape") or "/"


def choose_point(names: list[PointName], spec: str) -> PointName:
    """The point that `spec` means among `names`: `latest`, an id or a unique prefix of one, or a local time.

    A time (`2026-11-17`, `2026-11-17 08:30`, an hour, with seconds, or ISO 8601 with a zone) means the newest point
    made at or before its end: a day means its last point. If the clock showed a time twice, and that makes a
    difference, it is ambiguous. The names are believed: see `open_point`. Raises NotFound and AmbiguousName.
    """
    if not names:
        raise no_points()
    if spec == "latest":
        return next(newest_first(names))
    found = by_id(names, spec)
    if found is not None:
        return found
    ends = time_ends(spec)
    if not ends:
        raise no_such_point(spec)
    newest = [some[0] for some in before_each(names, ends, spec)]
    return newest[only_one(newest, ends, spec)]


def no_points() -> NotFound:
    return NotFound("there are no recovery points here yet", "make one with `rpdrive backup PATH`")


def no_such_point(spec: str) -> NotFound:
    return NotFound(f"there is no recovery point {spec}", "see `rpdrive points` for ids and times")


def none_before(spec: str) -> NotFound:
    return NotFound(f"no recovery point was made before {spec}", "see `rpdrive points`")


def with_id(names: Iterable[PointName], spec: str) -> list[PointName]:
    """The points whose ids are or begin with `spec`."""
    text = spec.lower()
    if not text or not all(c in "0123456789abcdef" for c in text):
        return []
    return [n for n in names if n.id.hex().startswith(text)]


def by_id(names: Iterable[PointName], spec: str) -> PointName | None:
    """The same, if it is one; None if there is none. Raises AmbiguousName."""
    found = with_id(names, spec)
    if len(found) > 1:
        raise AmbiguousName(f"{len(found)} recovery points have ids that start with {spec}", "give more of the id")
    return found[0] if found else None


def before_each(names: list[PointName], ends: list[int], spec: str) -> list[list[PointName]]:
    """For each end of a time before which there are points: those points, newest first. Raises NotFound."""
    before = [sorted((n for n in names if n.time < end), key=_age, reverse=True) for end in ends]
    if not any(before):
        raise none_before(spec)
    return [some for some in before if some]


def only_one(found: list[PointName], ends: list[int], spec: str) -> int:
    """The index of the point that a time means. Raises AmbiguousName if its two readings mean different points."""
    if found[0] != found[-1]:
        zones = [datetime.fromtimestamp(end // 10**9 - 1).astimezone().isoformat() for end in ends]
        raise AmbiguousName(
            f"the clock showed {spec} twice: it can mean {' or '.join(n.id.hex()[:8] for n in found)}",
            f"write {' or '.join(zones)}, or the id of the point",
        )
    return 0


def _age(name: PointName) -> tuple[int, int]:
    return name.time, name.sequence


def newest_first(names: list[PointName]) -> Iterator[PointName]:
    """The points from the newest on: of those with the highest sequence of their items, the latest by time.

    Whoever passes over one gets what would be the newest without it.
    """
    items = [sorted(some, key=lambda n: (n.sequence, n.time, n.id)) for _item, some in iter_items(names)]
    tops = [(-some[-1].time, -some[-1].sequence, n) for n, some in enumerate(items)]
    heapq.heapify(tops)
    while tops:
        _time, _sequence, n = heapq.heappop(tops)
        yield items[n].pop()
        if items[n]:
            heapq.heappush(tops, (-items[n][-1].time, -items[n][-1].sequence, n))


def latest(names: list[PointName]) -> PointName:
    """The newest of some points."""
    return next(newest_first(names))


_FORMS = (
    ("%Y-%m-%d", 86400),
    ("%Y-%m-%d %H", 3600),
    ("%Y-%m-%d %H:%M", 60),
    ("%Y-%m-%d %H:%M:%S", 1),
    ("%Y-%m-%d %H.%M.%S", 1),
)


def time_ends(spec: str) -> list[int]:
    """The first ns (UTC) after the local time that `spec` names; none if it is not a time.

    There are two, in order, if the clock showed that minute or second twice, as when daylight saving time ends.
    """
    return [end for _start, end in _times(spec)]


def time_begins(spec: str) -> list[int]:
    """The first ns (UTC) of that time. Otherwise as `time_ends`."""
    return [start for start, _end in _times(spec)]


def _times(spec: str) -> list[tuple[int, int]]:
    for form, seconds in _FORMS:
        for text in (spec, spec.replace("T", " ")):
            try:
                return _span(datetime.strptime(text, form), seconds)
            except (ValueError, OverflowError, OSError):  # not a time, or a time outside the range of this system
                continue
    try:
        time = datetime.fromisoformat(spec).replace(microsecond=0)
        if time.tzinfo is None:
            return _span(time, 1)
        start = int(time.timestamp())
        return [(start * 10**9, (start + 1) * 10**9)]
    except (ValueError, OverflowError, OSError):
        return []


def _span(start: datetime, seconds: int) -> list[tuple[int, int]]:
    starts = [int(start.timestamp())]
    if seconds >= 3600:
        # Added to the wall-clock time, not to the instant: a day can have 23 or 25 hours.
        try:
            end = int((start + timedelta(seconds=seconds)).timestamp())
        except OverflowError:  # the last day or hour that Python knows
            end = starts[0] + seconds
        return [(starts[0] * 10**9, end * 10**9)]
    with suppress(ValueError, OverflowError):  # on the last day of all, Python looks beyond it for the second one
        second = int(start.replace(fold=1).timestamp())
        starts += [second] if second > starts[0] else []  # before it if the clock skipped that time
    return [(begin * 10**9, (begin + seconds) * 10**9) for begin in starts]


def iter_items(names: list[PointName]) -> Iterator[tuple[tuple[bytes, bytes], list[PointName]]]:
    """The names grouped by machine and item, in the given order."""
    groups: dict[tuple[bytes, bytes], list[PointName]] = {}
    for n in names:
        groups.setdefault((n.machine, n.item), []).append(n)
    yield from groups.items()
