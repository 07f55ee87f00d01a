"""The system state that a recovery point holds: its system.json, and the files beside it."""

from __future__ import annotations

from typing import NamedTuple

from catalog.direct import DirectSource
from catalog.errors import Damaged, NotFound, ObjectNotFound, ShortRead
from catalog.format.blocks import PackKind
from catalog.format.records import ItemKind, Point
from catalog.format.values import Hole, NodeKind
from catalog.inventory.reading import MOST, read_state
from catalog.inventory.values import SystemState
from catalog.ledger.listed import Listed
from catalog.mountinfo import is_within
from catalog.points.choice import Place, find, newest_first, path_text
from catalog.points.opening import first_that_opens, listed_points, open_point
from catalog.tree import Pieces
from catalog.vault import Vault

FOLDER = b"/.system"  # in a point; the staging folder stands there while it is made
STATE_FILE = b"system.json"


class Stored(NamedTuple):
    """A point with a system state. `refused` are lines about entries that were left out."""

    point: Point
    state: SystemState
    refused: list[str]


class PointFiles:
    """Small files of a point, read straight from the vault."""

    def __init__(self, vault: Vault, point: Point) -> None:
        self._trees, self._data = DirectSource(vault), DirectSource(vault, PackKind.DATA)
        self._root, self._paths = point.root.subtree() if point.root else None, point.paths

    def find(self, path: bytes) -> Place:
        """What is at a path, as bytes from "/". Raises NotFound, Damaged and StoreError."""
        return find(self._trees, self._root, path)

    def has_files(self, path: bytes) -> bool:
        """Whether the backup was to save a path, and has files of it: a folder that is there, and not empty.

        A folder of another file system that was not read is an empty one. False as well if it is damaged or missing
        in the vault. Raises StoreError: that the store does not answer says nothing about the files.
        """
        if not any(is_within(path, given) for given in self._paths):
            return False
        try:
            place = self.find(path)
        except (NotFound, Damaged, ObjectNotFound, ShortRead):  # ShortRead: of a pack that was cut
            return False
        return place.is_folder and place.folder is not None

    def read(self, path: bytes, most: int = MOST) -> bytes:
        """The contents of a file of at most `most` bytes. Raises NotFound, Damaged and StoreError."""
        found = self.find(path).found
        if found is None or found.entry.kind != NodeKind.FILE:
            raise NotFound(f"{path_text(path)} is not a file in this recovery point")
        if found.entry.size > most:
            raise NotFound(f"{path_text(path)} has {found.entry.size:,} bytes in this recovery point, too many")
        parts: list[bytes] = []
        left = most
        for piece in Pieces(self._trees, found.leaf.pieces(found.entry)).all():
            left -= piece.length
            if left < 0:
                raise NotFound(f"{path_text(path)} has more bytes in this recovery point than its size")
            parts.append(bytes(piece.length) if isinstance(piece, Hole) else bytes(self._data.chunk(piece)))
        return b"".join(parts)


def stored_state(vault: Vault, spec: str, machine: str | None = None, item: str | None = None) -> Stored:
    """The state of the point that `spec` means, as `rpdrive points` and `ls` take it.

    Without an item, `latest` is the newest point of a system state, whatever was saved since. Raises NotFound if
    the point has none, AmbiguousName, Damaged, NewerFormat and StoreError.
    """
    points = listed_points(vault, machine, item)
    if spec == "latest" and item is None:
        states = [point for point in newest_of_items(vault, points) if point.kind == ItemKind.SYSTEM]
        if states:
            return state_of(vault, max(states, key=lambda p: (p.time, p.sequence)))
    return state_of(vault, open_point(vault, points, spec))


def newest_of_items(vault: Vault, points: Listed) -> list[Point]:
    """The newest point that opens of each item, of those that are not forgotten. 1 request for each item."""
    found = (
        first_that_opens(vault, points.shown(newest_first(points.stored.of(key))))
        for key in points.stored.keys_of_items()
    )
    return [point for point in found if isinstance(point, Point)]


def state_of(vault: Vault, point: Point) -> Stored:
    """The state that a point holds. Raises as `stored_state`."""
    try:
        data = PointFiles(vault, point).read(FOLDER + b"/" + STATE_FILE)
    except NotFound as e:
        raise NotFound(
            f"the recovery point {point.id.hex()[:8]} holds no system state",
            "`rpdrive points` says which do; `rpdrive backup --system-state` makes one",
        ) from e
    state, refused = read_state(data)
    return Stored(point, state, refused)
