"""Points that vanished: while they might come back, their blocks must stay."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from catalog.format.records import PointName
from catalog.ledger.records import Ledgers
from catalog.mark.roots import Roots

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
        which = f"point {self.first}" if self.first == self.last else f"points {self.first} to {self.last}"
        return f"recovery {which} of item {self.item} vanished from the vault"

    @property
    def advice(self) -> str:
        accept = f"rpdrive forget --missing --machine {self.machine} --item {self.item}"
        return f"bring them back from a copy of the vault, or accept the loss with `{accept}`"


def find_gap(
    names: Collection[PointName], roots: Roots, ledgers: Mapping[bytes, Ledgers], seen: Mapping[Key, int]
) -> Gap | None:
    """The first gap. `names` are of all points of the machines in `ledgers`; `seen` are the highest numbers, by
    machine and item, that this machine has met. The name of a point that doesn't open proves no number."""
    present: dict[Key, set[int]] = {}
    for name in names:
        numbers = present.setdefault((name.machine, name.item), set())
        if not name.partial:
            numbers.add(name.sequence)
    opened: dict[Key, int] = {}
    people: dict[Key, tuple[str, str]] = {}
    for root in roots.roots:
        key = root.name.machine, root.name.item
        people[key] = root.point.machine_name, root.point.item_name
        if not root.name.partial:
            opened[key] = max(opened.get(key, 0), root.name.sequence)
    keys = {*present, *(key for key in seen if key[0] in ledgers)}
    keys.update(key for some in ledgers.values() for key in some.keys)
    for key in sorted(keys):
        ledger = ledgers[key[0]].of(*key)
        highest = max(opened.get(key, 0), seen.get(key, 0), ledger.highest)
        missing = ledger.gaps(present.get(key, set()), highest)
        if missing:
            machine, item = people.get(key, (key[0].hex()[:8], key[1].hex()[:8]))
            return Gap(machine, item, *missing[0])
    return None
