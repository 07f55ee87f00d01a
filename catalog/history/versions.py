"""What recovery points hold at one path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from catalog.format.records import Point
from catalog.history.overlay import ReadySource, Version, distinct, follow, held, root_strands


class Versions(NamedTuple):
    """The contents of a path by the first point that holds each, and the points in which there is no such path."""

    found: list[Version]
    missing: int


def versions(source: ReadySource, points: Sequence[Point], path: bytes) -> Versions:
    """Every content that points have of a path; of a folder, every state. Reads no content. Damaged, StoreError.

    The points are followed down side by side: as many rounds of requests as one lookup takes. The path must name
    something below the root; symlinks are not followed.
    """
    _path, variants, _below = follow(source, root_strands(points), path)
    everything = (1 << len(points)) - 1
    return Versions(distinct(variants), everything & ~held(variants))
