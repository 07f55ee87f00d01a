"""The newest record of places of a series, and the next one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from catalog.errors import NewerFormat
from catalog.format.admins import Admin
from catalog.format.numbers import written_number
from catalog.format.places import PlacesRecord, decode_places, encode_places, places_folder, places_named
from catalog.format.sealed import Kind
from catalog.signed import StoredRecord
from catalog.store.deadline import Deadline
from catalog.vault import Vault

Signer = tuple[Admin, bytes]  # an admin, and its private key


class Newest(NamedTuple):
    """The record that counts (None: there is none), when it was stored (ns), and the numbers of all, with times."""

    record: PlacesRecord | None
    created: int
    stored: dict[int, int]

    @property
    def number(self) -> int:
        return self.record.number if self.record is not None else 0


def read_newest(vault: Vault, series: bytes) -> Newest:
    """One listing, and one request for the record.

    Raises StoreError, Damaged if it can't be found or used, and NewerFormat if the series is split into shards.
    """
    stored: dict[int, int] = {}
    for info in vault.store.list(places_folder(series)[:-1]):
        named = places_named(info.name)
        if named is None or named[0] != series:
            continue
        if named[1]:
            raise NewerFormat(f"the records of places of series {series.hex()} are split, e.g. {info.name}")
        stored[named[2]] = info.modified
    found = vault.signed.among(Kind.PLACES, places_folder(series), stored)
    if found is None:
        return Newest(None, 0, stored)
    return Newest(decode_places(found.content, found.name), stored[found.number], stored)


def store_next(
    vault: Vault, signer: Signer, record: Callable[[int], PlacesRecord], after: int, until: Deadline
) -> StoredRecord:
    """Store the record that follows. Raises ObjectChanged if another run was faster, or another StoreError.

    No attempt begins after `until`: raises TooLate.
    """

    def content(number: int) -> bytes:
        return encode_places(record(number))

    folder = places_folder(record(after + 1).series)
    return vault.signed.store_next(Kind.PLACES, folder, content, *signer, after=after, until=until)


def old_names(series: bytes, newest: Newest, before: int, least: int) -> list[str]:
    """Records that were stored before a time (ns), without the newest `least` of them."""
    old = sorted(number for number in newest.stored if number <= newest.number)[:-least]
    return [places_folder(series) + written_number(n) for n in old if newest.stored[n] < before]
