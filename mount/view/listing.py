"""The points of a machine, and the names of folders for machines, items and points."""

from __future__ import annotations

from collections.abc import Mapping

from catalog.format.records import PointName
from catalog.names import time_in_name
from catalog.points.choice import iter_items


class Listing:
    """The points of a machine at one moment, by item."""

    def __init__(self, names: list[PointName]) -> None:
        self.names = names
        self.items = {item: points for (_machine, item), points in iter_items(names)}
        self.newest = max((n.time for n in names), default=0)
        self._folders: dict[bytes, dict[bytes, PointName]] = {}
        self._newest: dict[bytes, dict[bytes, PointName]] = {}

    def folders(self, item: bytes) -> dict[bytes, PointName]:
        """The points of an item by the names of their folders. Computed once: `ls -l` asks for each point."""
        folders = self._folders.get(item)
        if folders is None:
            folders = self._folders[item] = point_folders(self.items.get(item, []))
        return folders

    def has_more(self, item: bytes, count: int) -> bool:
        """Whether an item has more points than so many."""
        return len(self.items.get(item, ())) > count

    def newest_folders(self, item: bytes, count: int) -> dict[bytes, PointName]:
        """As `folders`, of the newest points only. Computed once for an item."""
        folders = self.folders(item)
        if not self.has_more(item, count):
            return folders
        known = self._newest.get(item)
        if known is None:
            some = set(self.items[item][-count:])
            known = self._newest[item] = {name: point for name, point in folders.items() if point in some}
        return known


def point_folders(points: list[PointName]) -> dict[bytes, PointName]:
    """Points by the names of their folders: local time, followed by a number if seconds are equal.

    No colons in it, so that Windows can show it.
    """
    folders: dict[bytes, PointName] = {}
    for point in sorted(points, key=lambda p: (p.time, p.sequence, p.id)):
        text = time_in_name(point.time, seconds=True)
        name, number = text, 1
        while name.encode() in folders:
            number += 1
            name = f"{text} ({number})"
        folders[name.encode()] = point
    return folders


def shown_names(names: Mapping[bytes, str]) -> dict[bytes, bytes]:
    """Folder names for ids, in the order given; a name that is taken gets part of its id."""
    found: dict[bytes, bytes] = {}
    taken: set[bytes] = set()
    for key, text in names.items():
        plain = "".join("_" if c in "/\0" else c for c in text).strip()
        if plain in ("", ".", ".."):
            plain = key.hex()
        name = plain.encode(errors="surrogateescape")[:200]
        if name in taken:
            name += f" ({key.hex()[:8]})".encode()
        taken.add(name)
        found[key] = name
    return found
