"""Which recovery point has the files of each place: the newest of that machine that reaches there."""

from __future__ import annotations

import os

from catalog.errors import RpdriveError
from catalog.format.records import ItemKind, Point
from catalog.inventory.stored import PointFiles
from catalog.ledger.listed import list_points
from catalog.points.choice import iter_items, newest_first
from catalog.points.opening import first_that_opens
from catalog.screen.text import local_time
from catalog.vault import Vault
from mount.rebuild.finishing import Restore


def restores_for(vault: Vault, machine: bytes, places: list[str]) -> list[Restore]:
    """A restore for each place, from the root downwards; one without a point where none has its files.

    A place that came with the one above it, from the same point, is left out. Raises StoreError.
    """
    newest = _newest(vault, machine)
    found: list[Restore] = []
    for place in places:
        path = os.fsencode(place)
        best = max((p for p in newest if _has(vault, p, path)), key=lambda p: _rank(p, path), default=None)
        if best is None:
            found.append(Restore(place))
            continue
        if any(r.point == best.id.hex() and _is_below(place, r.place) for r in found):
            continue
        comment = f"{best.item_name}, as of {local_time(best.time)}{f' ({best.kind})' if best.kind else ''}"
        is_whole = place == "/" or (best.kind == ItemKind.VOLUME and path in best.paths)
        found.append(Restore(place, best.id.hex(), "" if is_whole else place, comment))
    return found


def _newest(vault: Vault, machine: bytes) -> list[Point]:
    """The newest point that opens of each item of a machine."""
    listed = list_points(vault, machine, None)
    found: list[Point] = []
    for _, names in iter_items([name for name in listed.stored if not name.partial]):
        point = first_that_opens(vault, listed.shown(newest_first(names)))
        if isinstance(point, Point):
            found.append(point)
    return found


def _rank(point: Point, path: bytes) -> tuple[bool, bool, int, int]:
    """A point of just this file system is better than one of much more; a later one better than an earlier one."""
    exact = any(volume.place == path for volume in point.volumes) and path in point.paths
    return exact, path in point.paths, point.kind != ItemKind.SYSTEM, point.time


def _has(vault: Vault, point: Point, path: bytes) -> bool:
    """Whether a point has files below a path, as a folder of it."""
    if not any(path == root or _below(path, root) for root in point.paths):
        return False
    try:
        place = PointFiles(vault, point).find(path)
    except RpdriveError:
        return False
    return place.is_folder and place.folder is not None


def _below(path: bytes, root: bytes) -> bool:
    return path.startswith(root if root.endswith(b"/") else root + b"/")


def _is_below(place: str, above: str) -> bool:
    return place == above or place.startswith(above if above.endswith("/") else above + "/")
