"""Which recovery point has the files of each place: the newest of that machine that reaches there."""

from __future__ import annotations

import os

from catalog.format.records import ItemKind, Point
from catalog.inventory.stored import PointFiles, newest_of_items
from catalog.ledger.listed import list_points
from catalog.mountinfo import is_within
from catalog.screen.text import local_time
from catalog.vault import Vault
from mount.rebuild.finishing import Restore


def restores_for(vault: Vault, machine: bytes, places: list[str]) -> list[Restore]:
    """A restore for each place, from the root downwards; one without a point where none has its files.

    A place that came with the one above it, from the same point, is left out. Raises StoreError.
    """
    newest = newest_of_items(vault, list_points(vault, machine, None))
    files = {point.id: PointFiles(vault, point) for point in newest}
    found: list[Restore] = []
    for place in places:
        path = os.fsencode(place)
        best = max((p for p in newest if files[p.id].has_files(path)), key=lambda p: _rank(p, path), default=None)
        if best is None:
            found.append(Restore(place))
            continue
        if any(r.point == best.id.hex() and is_within(path, os.fsencode(r.place)) for r in found):
            continue
        comment = f"{best.item_name}, as of {local_time(best.time)}{f' ({best.kind})' if best.kind else ''}"
        is_whole = place == "/" or (best.kind == ItemKind.VOLUME and path in best.paths)
        found.append(Restore(place, best.id.hex(), "" if is_whole else place, comment))
    return found


def _rank(point: Point, path: bytes) -> tuple[bool, bool, int, int]:
    """A point of just this file system is better than one of much more; a later one better than an earlier one."""
    exact = any(volume.place == path for volume in point.volumes) and path in point.paths
    return exact, path in point.paths, point.kind != ItemKind.SYSTEM, point.time
