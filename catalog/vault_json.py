"""Reads vault.json from a store."""

from __future__ import annotations

from catalog.errors import NoVault, ObjectNotFound, RpdriveError
from catalog.format.vaultfile import MAX_VAULT_FILE, VaultFile
from catalog.store.base import Store

NAME = "vault.json"
LOST = "run `rpdrive repair`, which puts a copy of it back (docs/repair.md)"


def read_vault_file(store: Store) -> VaultFile:
    """vault.json, parsed but not authenticated. Raises NoVault, NewerFormat, Damaged or StoreError."""
    try:
        return VaultFile.decode(store.get(NAME, MAX_VAULT_FILE))
    except ObjectNotFound as e:
        try:
            lost = has_copies(store)
        except RpdriveError:
            lost = False
        if lost:
            raise NoVault(f"the vault at {store.url} has lost its vault.json", LOST) from e
        raise NoVault(f"there is no vault at {store.url}") from e


def has_copies(store: Store) -> bool:
    """Whether there are copies of a vault.json."""
    return any(True for _ in store.list("vault/"))
