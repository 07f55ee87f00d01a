"""Where a seed is: its disks here, and what of each has arrived in the vault."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import NamedTuple

from catalog.access.session import Session
from catalog.format.packs import SERIES_BYTES
from catalog.format.seeds import SeedName, counts_until
from catalog.seeds.local import Facts, LocalDisk, LocalSeed, Stage, is_connected, seed_folder
from catalog.seeds.record import FOLDER
from catalog.store.reading import time_to_read
from catalog.vault import Vault


class DiskState(NamedTuple):
    """A disk. `objects` with `bytes` are on it, `arrived` of them are in the vault."""

    disk: LocalDisk
    connected: bool
    objects: int
    bytes: int
    arrived: int

    @property
    def has_arrived(self) -> bool:
        return self.arrived == self.objects


class Status(NamedTuple):
    """A seed. `until` is when it ceases to count (ns), 0 if its record is not in the vault.

    `ended`: the record of its end is in the vault.
    """

    facts: Facts
    disks: list[DiskState]
    until: int
    ended: bool
    expired: bool


def status_of(session: Session, vault: Vault) -> Status | None:
    """The seed of this machine; None if there is none. Listings of what travels, once the seed is closed.

    Takes no more memory for many objects than for few.
    """
    seed = LocalSeed.load(seed_folder(session.settings.where("state"), vault))
    if seed is None:
        return None
    try:
        facts = seed.facts
        arrived = _arrived(vault, seed) if facts.stage is Stage.CLOSED else Counter[int]()
        disks = [
            DiskState(disk, is_connected(disk, facts.id), *seed.totals(disk.number), arrived[disk.number])
            for disk in seed.disks
        ]
        one = bytes.fromhex(facts.id)
        names = {info.name: info.modified for info in vault.store.list(FOLDER + facts.id)}
        stored = names.get(str(SeedName(one)))
        until = 0 if stored is None else counts_until(facts.expires, stored)
        expired = stored is not None and max(names.values()) < until <= time_to_read(vault.store)
        return Status(facts, disks, until, str(SeedName(one, is_ended=True)) in names, expired)
    finally:
        seed.close()


def _arrived(vault: Vault, seed: LocalSeed) -> Counter[int]:
    """How many objects of each disk the vault has, by name and size."""
    machine = seed.facts.machine
    series = machine[: 2 * SERIES_BYTES]
    found = Counter[int]()
    last = str(SeedName(bytes.fromhex(seed.facts.id), is_ended=True))
    folders = (f"{kind}/{machine}/" for kind in ("index", "jobs", "points"))
    for prefix in (*folders, f"meta/{series}/", f"packs/{series}/", last):
        own = ((row.name, row.size, row.disk) for row in seed.rows(prefix))
        there = ((info.name, info.size, -1) for info in vault.store.list(prefix))
        before = ("", 0)
        for name, size, disk in heapq.merge(there, own):
            if disk >= 0 and before == (name, size):
                found[disk] += 1
            before = name, size
    return found
