"""Forgets a vault, or a copy of one, on this machine."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from catalog.access.copies import KnownCopies
from catalog.access.credentials import Connections
from catalog.access.place import VaultPlaces
from catalog.access.secrets import SavedAdminKeys, SavedKeys
from catalog.access.settings import Settings


def disconnect(settings: Settings, address: str, vault_id: bytes) -> None:
    """Forget what leads to the vault at an address: credentials and address, and saved keys with its last place.

    Raises LocalError.
    """
    copies = KnownCopies(settings)
    Connections(settings).delete(vault_id, address)
    known = [at for at, one in settings.known_vaults().items() if one == vault_id]
    if not {*known, *copies.of(vault_id)} - {address}:  # the keys are those of all its places
        SavedKeys(settings).delete(vault_id)
        SavedAdminKeys(settings).delete(vault_id)
    state = settings.where("state")
    _forget_plans(state / "plans" / f"{vault_id.hex()}.json", address)
    VaultPlaces(state, vault_id).forget_first(address)
    settings.forget_vault(address)
    copies.forget(address)


def _forget_plans(copy: Path, address: str) -> None:
    """Remove the copy of a vault's plans (catalog/plans/local.py), unless they lead to another place of the vault.

    Nothing is due any more for a vault that does not open.
    """
    with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        if json.loads(copy.read_bytes())["address"] != address:
            return
    copy.unlink(missing_ok=True)
