"""The roots of a mark: all recovery points that are listed, partial ones too, and not gone by the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from catalog.errors import Damaged, MissingData, ObjectNotFound, RpdriveError
from catalog.format.records import Point, PointName
from catalog.format.sealed import Kind
from catalog.vault import Vault


class Root(NamedTuple):
    """A point. `modified` is when it was stored, by the store's clock (ns since the epoch, UTC)."""

    name: PointName
    modified: int
    point: Point


class NoRoot(NamedTuple):
    """A point whose record can't be read, and why."""

    name: PointName
    modified: int
    error: RpdriveError


class Roots(NamedTuple):
    """The roots, in the order of their names, and the points that should be roots but can't be read."""

    roots: list[Root]
    unread: list[NoRoot]


def find_roots(
    vault: Vault, machines: Iterable[bytes] | None = None, gone: Callable[[PointName], bool] | None = None
) -> Roots:
    """The points of these machines (ids; None: of all) that are not `gone`.

    One listing for each machine. Otherwise as `read_roots`.
    """
    stored: dict[PointName, int] = {}
    for machine in [None] if machines is None else machines:
        stored.update(vault.stored_points(machine))
    return read_roots(vault, stored, gone)


def read_roots(
    vault: Vault, stored: Mapping[PointName, int], gone: Callable[[PointName], bool] | None = None
) -> Roots:
    """The points of a listing (names, and times by the store's clock in ns) that are not `gone`.

    One request for each record that is not cached. A partial point that is surely damaged, or was deleted since the
    listing, is left out: its writer sees what is hidden. Raises StoreError.
    """
    names = [name for name in stored if gone is None or not gone(name)]
    names.sort(key=lambda n: (n.machine, n.item, n.sequence, not n.partial, n.time, n.id))
    roots, unread = list[Root](), list[NoRoot]()
    records = vault.read_each(Kind.POINT, Point, names, _without_problems)
    for name, record in zip(names, records, strict=True):
        if isinstance(record, Point):
            roots.append(Root(name, stored[name], record))
        elif not (name.partial and _is_lost(record)):
            unread.append(NoRoot(name, stored[name], record))
    return Roots(roots, unread)


def _without_problems(point: Point) -> Point:
    return msgspec.structs.replace(point, problems=[])


def _is_lost(error: RpdriveError) -> bool:
    """Whether a record is surely damaged, or no longer there. A refused one may only be out of reach."""
    if isinstance(error, MissingData):
        return isinstance(error.__cause__, ObjectNotFound)
    return isinstance(error, Damaged)
