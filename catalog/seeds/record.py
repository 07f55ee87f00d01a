"""The records of seeds in a vault: which backups are on their way, and which have arrived or were given up."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import NamedTuple

from catalog.errors import Damaged, NewerFormat, ObjectExists, ObjectNotFound
from catalog.format.sealed import Kind, open_object, seal_object
from catalog.format.seeds import (
    Ending,
    SeedEnded,
    SeedName,
    SeedRecord,
    counts_until,
    decode_ended,
    decode_seed,
    encode_seed,
    seed_named,
)
from catalog.vault import Vault

FOLDER = "seeds/"
MOST = 1000  # seeds that are read; of more, the others are doubts


class Travelling(NamedTuple):
    """A seed that counts: its record, and until when (ns, by the store's clock)."""

    record: SeedRecord
    stored: int
    until: int


class Seeds(NamedTuple):
    """The seeds of a vault that count, and the names of objects that do not open: each may be such a seed."""

    open: tuple[Travelling, ...]
    doubts: tuple[str, ...]

    @property
    def machines(self) -> Collection[bytes]:
        """The machines (ids) of which backups are on their way."""
        return {one.record.machine for one in self.open}


def read_seeds(vault: Vault, now: int) -> Seeds:
    """The seeds that count at `now`, by the store's clock (ns). One listing, and a request or two for each seed.

    An end counts if it opens and is that of its seed: anybody who may create objects can give one its name. To be
    read before the points are listed: those of a seed are in the vault before its end is. Raises StoreError.
    """
    stored: dict[bytes, int] = {}
    ended: set[bytes] = set()
    doubts = []
    for info in vault.store.list(FOLDER):
        named = seed_named(info.name)
        if named is None:
            continue
        if named.is_ended:
            ended.add(named.id)
        else:
            stored[named.id] = info.modified
    found = []
    for number, (one, modified) in enumerate(sorted(stored.items())):
        name = str(SeedName(one))
        if number >= MOST:
            doubts.append(name)
            continue
        try:
            record = read_seed(vault, one)
            if one in ended and read_end(vault, record) is not None:
                continue
        except ObjectNotFound:
            continue  # deleted since it was listed
        except (Damaged, NewerFormat):
            if counts_until(1 << 63, modified) > now:
                doubts.append(name)
            continue
        until = counts_until(record.expires, modified)
        if now < until:
            found.append(Travelling(record, modified, until))
    return Seeds(tuple(found), tuple(doubts))


def read_seed(vault: Vault, seed: bytes) -> SeedRecord:
    """The record of a seed. Raises ObjectNotFound, another StoreError, Damaged or NewerFormat."""
    name = str(SeedName(seed))
    return decode_seed(open_object(vault.keys, Kind.SEED, name, vault.fetch_sealed(Kind.SEED, name)), name)


def read_end(vault: Vault, record: SeedRecord) -> SeedEnded | None:
    """The record of the end of a seed; None if there is none that opens and is that seed's. Raises StoreError."""
    name = str(SeedName(record.id, is_ended=True))
    try:
        found = decode_ended(open_object(vault.keys, Kind.SEED, name, vault.fetch_sealed(Kind.SEED, name)), name)
    except (ObjectNotFound, Damaged, NewerFormat):
        return None
    return found if found.machine == record.machine else None


def add_seed(vault: Vault, record: SeedRecord) -> None:
    """Store the record of a seed, unless it is there. Raises StoreError, or Damaged if another one is there."""
    name = str(SeedName(record.id))
    try:
        vault.store.create(name, [seal_object(vault.keys, Kind.SEED, name, encode_seed(record))])
    except ObjectExists:
        if read_seed(vault, record.id) != record:
            raise


def sealed_end(vault: Vault, seed: bytes, machine: bytes, outcome: Ending) -> bytes:
    """The bytes of the record that ends a seed."""
    record = SeedEnded(id=seed, machine=machine, time=time.time_ns(), outcome=outcome)
    name = str(SeedName(seed, is_ended=True))
    return seal_object(vault.keys, Kind.SEED, name, encode_seed(record))
