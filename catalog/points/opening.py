"""Finds machines, items and points by what users type, and opens the records of points.

The name of an object proves nothing: whoever may create objects may give one any name. A point counts once its
record opens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice

import msgspec

from catalog.errors import NotFound, RpdriveError
from catalog.format.records import Item, Machine, Point, PointName
from catalog.format.sealed import Kind
from catalog.ledger.listed import Listed, list_points
from catalog.ledger.table import by_sequence, by_time
from catalog.machines.registry import choose_named, with_whole_id
from catalog.points.choice import (
    by_id,
    newest_first,
    no_points,
    no_such_point,
    none_before,
    only_one,
    time_ends,
    with_id,
)
from catalog.vault import Vault

_AT_ONCE = 8  # records read at once, after one did not open


def scope(vault: Vault, machine: str | None = None, item: str | None = None) -> tuple[bytes | None, bytes | None]:
    """The ids of a machine and an item; None for each that is not named. Raises NotFound and AmbiguousName.

    Costs 1 listing for each name given, and 1 request for each record not seen before; 1 for the whole id of a
    machine. If no record has the name, it is looked for in points of machines and items whose records do not open.
    """
    a_machine, an_item = chosen(vault, machine, item)
    if an_item is not None:
        return an_item.machine, an_item.id
    return (None if a_machine is None else a_machine.id), None


def chosen(vault: Vault, machine: str | None = None, item: str | None = None) -> tuple[Machine | None, Item | None]:
    """The machine and the item that are named, as `scope`; for those without a record, what their points say."""
    a_machine = _machine(vault, machine) if machine is not None else None
    machine_id = None if a_machine is None else a_machine.id
    if item is None:
        return a_machine, None
    known = vault.all_items() if machine_id is None else list(vault.items(machine_id).values())
    items = {i.machine + i.id: i for i in known}
    advice = "add --machine, or name the item by its id" if machine is None else ""
    try:
        return a_machine, choose_named(items, item, "item", advice)
    except NotFound:
        newest = _newest_points(vault, machine_id, lambda n: n.machine + n.item)
        unknown = {p.machine + p.item: p for p in newest if p.machine + p.item not in items}
        if not unknown:
            raise
        of_points = {
            key: Item(id=p.item, machine=p.machine, name=p.item_name, paths=[], created=0)
            for key, p in unknown.items()
        }
        return a_machine, choose_named({**items, **of_points}, item, "item", advice)


def _machine(vault: Vault, text: str) -> Machine:
    whole = with_whole_id(vault, text)
    if whole is not None:
        return whole
    machines = vault.machines()
    try:
        return choose_named(machines, text, "machine")
    except NotFound:
        unknown = [p for p in _newest_points(vault, None, lambda n: n.machine) if p.machine not in machines]
        if not unknown:
            raise
        of_points = {
            p.machine: Machine(id=p.machine, name=p.machine_name, hostname=p.hostname, system=p.system, created=0)
            for p in unknown
        }
        return choose_named({**machines, **of_points}, text, "machine")


def _newest_points(vault: Vault, machine: bytes | None, by: Callable[[PointName], bytes]) -> list[Point]:
    """The newest point that opens of each machine or item (`by`). 1 listing, and 1 request for each."""
    groups: dict[bytes, list[PointName]] = {}
    for name in vault.point_names(machine):
        groups.setdefault(by(name), []).append(name)
    points = (first_that_opens(vault, newest_first(names)) for names in groups.values())
    return [p for p in points if isinstance(p, Point)]


def listed_points(vault: Vault, machine: str | None = None, item: str | None = None) -> Listed:
    """The points of a machine, of an item, or of all. Raises NotFound and AmbiguousName.

    Costs 2 listings more than `scope`, at once, and 1 request for each ledger that is then needed.
    """
    return list_points(vault, *scope(vault, machine, item))


def open_point(vault: Vault, points: Listed, spec: str) -> Point:
    """The record of the point that `spec` means among `points`, as `choose_point`.

    A name proves nothing: if the record of the newest point does not open, it is noted in `passed_over`, and the
    next one is taken. A point named by its id is the only one meant. One that was forgotten is meant only by its
    id, and the person is told. Raises NotFound, AmbiguousName, StoreError, and Damaged or NewerFormat if
    none opens.
    """
    if not points.stored:
        raise no_points()
    if spec == "latest":
        return _opened(vault, points.shown(points.stored.ranked(by_sequence)), _all_forgotten())
    found = named_by_id(points, spec)
    if found is not None:
        point = vault.point(found)
        points.tell(found)
        return point
    ends = time_ends(spec)
    if not ends:
        raise no_such_point(spec)
    ranked = [points.stored.ranked(by_time, end) for end in ends]
    some = [chain([first], names) for names in ranked if (first := next(names, None)) is not None]
    if not some:
        raise none_before(spec)
    found_each = [_opened(vault, points.shown(names), _all_forgotten()) for names in some]
    return found_each[only_one([PointName.of(p) for p in found_each], ends, spec)]


def named_by_id(points: Listed, spec: str) -> PointName | None:
    """The point with an id, or the only one whose id begins so; None if there is none. Raises AmbiguousName.

    Of those that are shown, if there are any; else of those that were forgotten.
    """
    some = with_id(points.stored, spec)
    shown = list(points.shown(some)) or [name for name in some if not points.is_gone(name)]
    return by_id(shown, spec)


def _all_forgotten() -> NotFound:
    return NotFound(
        "all recovery points that this can mean were forgotten",
        "see `rpdrive points --deleted`; one that is still there can be named by its id",
    )


def _opened(vault: Vault, ranked: Iterator[PointName], none: NotFound) -> Point:
    found = first_that_opens(vault, ranked, none)
    if isinstance(found, Point):
        return found
    raise found


def first_that_opens(
    vault: Vault, ranked: Iterator[PointName], none: RpdriveError | None = None
) -> Point | RpdriveError:
    """The record of the first point that opens, or the error of the first that does not, or `none`.

    Those before it are noted in `passed_over`. One request; if that record does not open, eight at a time.
    """
    bad: list[tuple[PointName, RpdriveError]] = []
    found: Point | None = None
    while found is None and (some := list(islice(ranked, _AT_ONCE if bad else 1))):
        for name, point in zip(some, vault.read_each(Kind.POINT, Point, some), strict=True):
            if isinstance(point, Point):
                found = point
                break
            bad.append((name, point))
    for name, error in bad:
        vault.passed_over.note(str(name), error, lost=found is None)
    if found is not None:
        return found
    return bad[0][1] if bad else none or no_points()


def read_points(vault: Vault, names: list[PointName]) -> tuple[list[Point], list[RpdriveError]]:
    """The records of points by time, and an error for each that can't be read: it must not hide the others.

    The errors are noted in `passed_over`, too. The records are without their problems, of which there may be 1 MiB.
    Raises StoreError if the store itself fails.
    """
    found, damaged = list[Point](), list[RpdriveError]()
    records = vault.read_each(Kind.POINT, Point, names, without_problems)
    for name, point in zip(names, records, strict=True):
        if isinstance(point, Point):
            found.append(point)
        else:
            vault.passed_over.note(str(name), point)
            damaged.append(point)
    return sorted(found, key=lambda p: (p.time, p.sequence)), damaged


def without_problems(point: Point) -> Point:
    """A point to keep in memory among many."""
    return msgspec.structs.replace(point, problems=[])
