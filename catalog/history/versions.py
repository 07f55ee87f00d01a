"""The versions of one path in many recovery points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from catalog.format.records import Point
from catalog.history.overlay import BatchSource, Version, distinct, follow, held, root_strands


class Versions(NamedTuple):
    """The different contents of a path, by the first point that has each, and the points without the path."""

    found: list[Version]
    missing: int


def versions(source: BatchSource, points: Sequence[Point], path: bytes) -> Versions:
    """The different contents of a path in these points; for a folder, its different states. Reads no file content.

    All points are searched together, in as many rounds of requests as one lookup takes. The path must not be the
    root; symlinks are not followed. Raises Damaged and StoreError.
    """
    _path, variants, _below = follow(source, root_strands(points), path)
    everything = (1 << len(points)) - 1
    return Versions(distinct(variants), everything & ~held(variants))
