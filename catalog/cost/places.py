"""Where a vault is, and the prices there: by its address, and what the price files say of it."""

from __future__ import annotations

from typing import NamedTuple

from catalog.access.session import Session
from catalog.cost.prices import FOLDER, Place, Table, Tariff, load
from catalog.errors import UsageError
from catalog.store.address import scheme_of

USUAL = Place(address="?", region="westeurope", redundancy="LRS", tier="hot")  # of a vault that no file knows


class Priced(NamedTuple):
    """The prices of a place. `leaves`: what is read leaves the region. `is_assumed`: no file says where it is."""

    tariff: Tariff
    leaves: bool
    is_assumed: bool


def provider_of(address: str) -> str:
    """What price tables call the provider of a vault."""
    name = scheme_of(address).name
    return FOLDER if name == "file" else name


def is_free(address: str) -> bool:
    """Whether a vault is in a folder, which nobody charges for, or at no address that is known."""
    try:
        return provider_of(address) == FOLDER
    except UsageError:
        return True


def priced(table: Table, address: str) -> Priced:
    """The prices of the vault at an address. Raises UsageError if the table has none."""
    provider, place = provider_of(address), table.place(address)
    if provider == FOLDER:
        return Priced(table.tariff(FOLDER), False, False)
    known = place or USUAL
    tariff = table.tariff(provider, known.region, known.redundancy, known.tier)
    return Priced(tariff, known.leaves, place is None)


def priced_of(session: Session) -> Priced:
    """As `priced`, of a session's vault, by this user's table. Raises UsageError and LocalError."""
    return priced(load(session.settings.where("config")), session.address)
