"""Partial points that nobody goes on from."""

from __future__ import annotations

from collections.abc import Mapping

from catalog.format.records import PointName

PARTIAL = 60 * 86_400 * 10**9  # ns; one of that age goes, if there is a whole one of its number or above


def old_partials(stored: Mapping[PointName, int], began: int) -> list[PointName]:
    """Partial points that nobody goes on from: a whole one of their number or above is there."""
    whole: dict[tuple[bytes, bytes], int] = {}
    for name in stored:
        if not name.partial:
            key = name.machine, name.item
            whole[key] = max(whole.get(key, 0), name.sequence)
    return sorted(
        name
        for name, modified in stored.items()
        if name.partial and began - modified > PARTIAL and whole.get((name.machine, name.item), 0) >= name.sequence
    )
