"""What every level of a check needs to know of a machine first: its points, its packs, and what upkeep says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from catalog.check.folders import Strangers
from catalog.errors import Damaged, MissingData
from catalog.format.packs import SERIES_BYTES
from catalog.format.places import PlacesRecord
from catalog.format.records import Machine, PointName
from catalog.ledger.records import Ledger, Ledgers
from catalog.mark.objects import Objects, Presence
from catalog.mark.roots import Roots, read_roots
from catalog.screen.phases import Follower, Phase
from catalog.store.reading import time_to_read
from catalog.vault import Vault

Key = tuple[bytes, bytes]  # machine and item


class Ground(NamedTuple):
    """A machine, as the store lists it. `item`: only that item's points are looked at.

    `began` is the store's time (ns) before the points were listed. `ledgers` are those of its items that can be
    read, `unread` why others can't. `places` are the newest records of all series that its trees may refer to.
    """

    vault: Vault
    machine: bytes
    item: bytes | None
    machines: Mapping[bytes, Machine]
    began: int
    ledgers: dict[Key, Ledger]
    unread: dict[Key, Damaged]
    places: list[PlacesRecord]
    roots: Roots
    objects: Objects
    presence: Presence
    strange: Sequence[Strangers] = ()

    @property
    def series(self) -> list[bytes]:
        """The machines (ids) to whose packs the trees may refer: this one, and those it shares."""
        return series_of(self.machine, self.machines)


def series_of(machine: bytes, machines: Mapping[bytes, Machine]) -> list[bytes]:
    """The machines (ids) to whose packs the trees of a machine may refer, itself first."""
    known = machines.get(machine)
    found = {one[:SERIES_BYTES]: one for one in [*(known.shares if known is not None else ()), machine]}
    return [machine, *(one for one in found.values() if one != machine)]


def look(
    vault: Vault,
    machine: bytes,
    item: bytes | None,
    machines: Mapping[bytes, Machine],
    follow: Follower,
) -> Ground:
    """List what a machine has. Raises StoreError, and Damaged if its records of places can't be used.

    One listing each of ledgers, points, and for each series places, packs and tree packs (one for 5,000 of them);
    one request for each record that is new.
    """
    began = time_to_read(vault.store)
    follow.phase(Phase("listing points"))
    strange = Strangers(f"points/{machine.hex()}/"), Strangers("packs/ and meta/")
    stored = dict(_stored(vault, machine, item, strange[0]))
    # Ledgers after the listing: points that upkeep takes away meanwhile are not missing.
    follow.phase(Phase("reading records"))
    ledgers = Ledgers(vault, machine, item)
    read, unread = _read(ledgers)
    roots = read_roots(vault, stored, _gone(read))
    if any(isinstance(one.error, MissingData) for one in roots.unread):
        ledgers.refresh()
        read, unread = _read(ledgers)
        is_gone = _gone(read)
        roots = roots._replace(unread=[one for one in roots.unread if not is_gone(one.name)])
    series = series_of(machine, machines)
    places = [record for one in series for record in vault.places.newest(one)]
    follow.phase(Phase("listing packs"))
    objects = Objects.of(vault.store, series, strange[1].add)
    presence = Presence(objects, vault)
    return Ground(vault, machine, item, machines, began, read, unread, places, roots, objects, presence, strange)


def _stored(
    vault: Vault, machine: bytes, item: bytes | None, strange: Strangers
) -> Iterator[tuple[PointName, int]]:
    """The points of a machine, and when they were stored. Names that are none are added to `strange`."""
    for info in vault.store.list(f"points/{machine.hex()}/"):
        name = PointName.parse(info.name)
        if name is None:
            strange.add(info.name)
        elif item in (None, name.item):
            vault.jumps.stored(name, info.modified)
            yield name, info.modified


def _read(ledgers: Ledgers) -> tuple[dict[Key, Ledger], dict[Key, Damaged]]:
    """The ledgers that can be read, and why others can't."""
    read, unread = dict[Key, Ledger](), dict[Key, Damaged]()
    for key in ledgers.keys:
        try:
            read[key] = ledgers.of(*key)
        except Damaged as e:
            unread[key] = e
    return read, unread


def _gone(ledgers: Mapping[Key, Ledger]) -> Callable[[PointName], bool]:
    def is_none(name: PointName) -> bool:
        ledger = ledgers.get((name.machine, name.item))
        return ledger is not None and ledger.is_gone(name)

    return is_none
