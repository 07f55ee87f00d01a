"""Points that vanished: while they might come back, their blocks must stay."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from catalog.format.records import PointName
from catalog.ledger.records import Ledgers
from catalog.ledger.state import find_gaps, numbers_text
from catalog.mark.roots import Roots
from catalog.promoted import Jumps

Key = tuple[bytes, bytes]  # machine and item


class Gap(NamedTuple):
    """Numbers of points, first and last, that no point of an item has and no ledger explains.

    `machine` and `item` are their names, if a point of the item has them, or the beginnings of their ids.
    """

    machine: str
    item: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{numbers_text(self.first, self.last)} of item {self.item} vanished from the vault"

    @property
    def advice(self) -> str:
        accept = f"rpdrive forget --missing --machine {self.machine} --item {self.item}"
        return f"bring them back from a copy of the vault, or accept the loss with `{accept}`"


def find_gap(
    names: Collection[PointName],
    roots: Roots,
    ledgers: Mapping[bytes, Ledgers],
    seen: Mapping[Key, int],
    jumps: Jumps,
) -> Gap | None:
    """The first gap. `names` are of all points of the machines in `ledgers`; `seen` are the highest numbers, by
    machine and item, that this machine has met. The name of a point that doesn't open proves no number."""
    keys = {(name.machine, name.item) for name in names} | {key for key in seen if key[0] in ledgers}
    keys.update(key for some in ledgers.values() for key in some.keys)
    opened = [root.name for root in roots.roots]
    for key, first, last in find_gaps(names, opened, {key: ledgers[key[0]].of(*key) for key in keys}, seen, jumps):
        points = (root.point for root in reversed(roots.roots) if (root.name.machine, root.name.item) == key)
        point = next(points, None)
        people = (key[0].hex()[:8], key[1].hex()[:8]) if point is None else (point.machine_name, point.item_name)
        return Gap(*people, first, last)
    return None
