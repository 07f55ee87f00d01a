"""The system state that a recovery point holds: its system.json, and the files beside it."""

from __future__ import annotations

from typing import NamedTuple

from catalog.direct import DirectSource
from catalog.errors import NotFound
from catalog.format.blocks import PackKind
from catalog.format.records import Point
from catalog.format.values import Hole, NodeKind
from catalog.inventory.reading import MOST, read_state
from catalog.inventory.values import SystemState
from catalog.points.choice import Place, find, path_text
from catalog.points.opening import listed_points, open_point
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
        self._root = point.root.subtree() if point.root else None

    def find(self, path: bytes) -> Place:
        """What is at a path, as bytes from "/". Raises NotFound, Damaged and StoreError."""
        return find(self._trees, self._root, path)

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

    Raises NotFound if the point has none, AmbiguousName, Damaged, NewerFormat and StoreError.
    """
    point = open_point(vault, listed_points(vault, machine, item), spec)
    return state_of(vault, point)


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
