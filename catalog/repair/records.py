"""Makes records of machines and items anew, from what their points say of them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from catalog.errors import RpdriveError
from catalog.format.records import Item, Machine, Point, PointName
from catalog.machines.registry import write_anew
from catalog.vault import Vault

_TRIED = 100  # newest points of an item that are tried, until one opens


class LostRecords(NamedTuple):
    """Records of which no version opens, as they can be made anew: `machines` without `shares`."""

    machines: list[Machine]
    items: list[Item]


def find_lost(vault: Vault, names: Iterable[PointName]) -> LostRecords:
    """The machines and items that have points, and no record that opens. 2 listings and a request for each record.

    Raises StoreError.
    """
    by_item: dict[tuple[bytes, bytes], list[PointName]] = {}
    for name in names:
        by_item.setdefault((name.machine, name.item), []).append(name)
    known, items = vault.machines(), {(item.machine, item.id) for item in vault.all_items()}
    lost_machines: dict[bytes, tuple[Point, int]] = {}
    lost_items = list[Item]()
    for (machine, item), some in sorted(by_item.items()):
        if machine in known and (machine, item) in items:
            continue
        point = _newest(vault, some)
        if point is None:
            continue  # nothing of it can be read
        first = min(name.time for name in some)
        if (machine, item) not in items:
            lost_items.append(
                Item(id=item, machine=machine, name=point.item_name, paths=point.paths, created=first)
            )
        if machine not in known:
            other, since = lost_machines.get(machine, (point, first))
            lost_machines[machine] = max(point, other, key=lambda p: p.time), min(since, first)
    machines = [
        Machine(id=one, name=point.machine_name, hostname=point.hostname, system=point.system, created=since)
        for one, (point, since) in lost_machines.items()
    ]
    return LostRecords(machines, lost_items)


def _newest(vault: Vault, names: list[PointName]) -> Point | None:
    order = sorted(names, key=lambda n: (not n.partial, n.sequence, n.time), reverse=True)
    for name in order[:_TRIED]:
        try:
            return vault.point(name)
        except RpdriveError:
            continue
    return None


def write_lost(vault: Vault, lost: LostRecords) -> None:
    """Write them, each under the first number that is free. Raises Damaged if none is, or StoreError."""
    for machine in lost.machines:
        write_anew(partial(_add_machine, vault, machine), f"the machine {machine.name}")
    for item in lost.items:
        write_anew(partial(_add_item, vault, item), f"the item {item.name}")


def _add_machine(vault: Vault, machine: Machine, version: int) -> None:
    vault.add_machine(machine, version)


def _add_item(vault: Vault, item: Item, version: int) -> None:
    vault.add_item(item, version)
