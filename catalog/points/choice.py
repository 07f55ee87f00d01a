"""Resolves what users type: a machine, an item, a recovery point, a path in one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from catalog.errors import (
    AmbiguousName,
    Damaged,
    MissingData,
    NewerFormat,
    NotFound,
    ObjectNotFound,
    RpdriveError,
)
from catalog.format.pages import Entry, Leaf
from catalog.format.records import (
    Point,
    PointName,
)
from catalog.format.values import NodeKind, Subtree
from catalog.machines.registry import choose_named
from catalog.names import is_marked, meant, shows_as
from catalog.tree import ROOT_NUMBER, Found, PageSource, leaves, lookup
from catalog.vault import Vault

_ON_DRIVE = re.compile(rb"([A-Za-z]):(\\.*)", re.DOTALL)


def scope(vault: Vault, machine: str | None = None, item: str | None = None) -> tuple[bytes | None, bytes | None]:
    """The ids of a machine and an item; None for each that is not named. Raises NotFound and AmbiguousName.

    Costs 1 listing for each name given, and 1 request for each record not seen before.
    """
    machine_id = choose_named(vault.machines(), machine, "machine").id if machine is not None else None
    if item is None:
        return machine_id, None
    items = vault.items(machine_id)
    advice = "add --machine, or name the item by its id" if machine is None else ""
    chosen = choose_named(items, item, "item", advice)
    return chosen.machine, chosen.id


def point_names(vault: Vault, machine: str | None = None, item: str | None = None) -> list[PointName]:
    """Names of the points of a machine, of an item, or of all. Raises NotFound and AmbiguousName.

    Costs 1 listing more than `scope`.
    """
    return vault.point_names(*scope(vault, machine, item))


def choose(vault: Vault, spec: str, machine: str | None = None, item: str | None = None) -> PointName:
    """The recovery point that `spec` means (see `choose_point`). Raises NotFound and AmbiguousName."""
    return choose_point(point_names(vault, machine, item), spec)


def read_points(vault: Vault, names: list[PointName]) -> tuple[list[Point], list[RpdriveError]]:
    """The records of points by time, and an error for each that can't be read: it must not hide the others.

    Raises StoreError if the store itself fails.
    """
    found, damaged = list[Point](), list[RpdriveError]()
    try:
        found = vault.points(names)
    except (Damaged, NewerFormat, ObjectNotFound):
        for name in names:
            try:
                found.append(vault.point(name))
            except ObjectNotFound as e:
                damaged.append(MissingData(f"the recovery point {name} is missing from the vault"))
                damaged[-1].__cause__ = e
            except (Damaged, NewerFormat) as e:
                damaged.append(e)
    return sorted(found, key=lambda p: (p.time, p.sequence)), damaged


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
    difference, it is ambiguous. Raises NotFound and AmbiguousName.
    """
    if not names:
        raise NotFound("there are no recovery points here yet", "make one with `rpdrive backup PATH`")
    if spec == "latest":
        return latest(names)
    text = spec.lower()
    if text and all(c in "0123456789abcdef" for c in text):
        found = [n for n in names if n.id.hex().startswith(text)]
        if len(found) == 1:
            return found[0]
        if len(found) > 1:
            raise AmbiguousName(
                f"{len(found)} recovery points have ids that start with {spec}", "give more of the id"
            )
    ends = time_ends(spec)
    if ends:
        return _at_or_before(names, ends, spec)
    raise NotFound(f"there is no recovery point {spec}", "see `rpdrive points` for ids and times")


def latest(names: list[PointName]) -> PointName:
    """The newest point: the latest by time among the points with the highest sequence of their items."""
    by_item: dict[tuple[bytes, bytes], PointName] = {}
    for n in names:
        key = (n.machine, n.item)
        if key not in by_item or n.sequence >= by_item[key].sequence:
            by_item[key] = n
    return max(by_item.values(), key=lambda n: (n.time, n.sequence))


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
    for form, seconds in _FORMS:
        for text in (spec, spec.replace("T", " ")):
            try:
                return _ends(datetime.strptime(text, form), seconds)
            except (ValueError, OverflowError, OSError):  # not a time, or a time outside the range of this system
                continue
    try:
        time = datetime.fromisoformat(spec).replace(microsecond=0)
        return _ends(time, 1) if time.tzinfo is None else [(_seconds(time) + 1) * 10**9]
    except (ValueError, OverflowError, OSError):
        return []


def _ends(start: datetime, seconds: int) -> list[int]:
    if seconds >= 3600:
        # Added to the wall-clock time, not to the instant: a day can have 23 or 25 hours.
        try:
            return [_seconds(start + timedelta(seconds=seconds)) * 10**9]
        except OverflowError:  # the last day or hour that Python knows
            return [(_seconds(start) + seconds) * 10**9]
    first, second = (_seconds(start.replace(fold=fold)) for fold in (0, 1))
    starts = [first, second] if first < second else [first]  # a time that the clock skipped has first > second
    return [(begin + seconds) * 10**9 for begin in starts]


def _seconds(time: datetime) -> int:
    return int(time.timestamp())


def _at_or_before(names: list[PointName], ends: list[int], spec: str) -> PointName:
    """The newest point before the end of a time."""
    before = ([n for n in names if n.time < end] for end in ends)
    found = [max(some, key=lambda n: (n.time, n.sequence)) for some in before if some]
    if not found:
        raise NotFound(f"no recovery point was made before {spec}", "see `rpdrive points`")
    if found[0] != found[-1]:
        zones = [datetime.fromtimestamp(end // 10**9 - 1).astimezone().isoformat() for end in ends]
        raise AmbiguousName(
            f"the clock showed {spec} twice: it can mean {' or '.join(n.id.hex()[:8] for n in found)}",
            f"write {' or '.join(zones)}, or the id of the point",
        )
    return found[0]


def iter_items(names: list[PointName]) -> Iterator[tuple[tuple[bytes, bytes], list[PointName]]]:
    """The names grouped by machine and item, in the given order."""
    groups: dict[tuple[bytes, bytes], list[PointName]] = {}
    for n in names:
        groups.setdefault((n.machine, n.item), []).append(n)
    yield from groups.items()
