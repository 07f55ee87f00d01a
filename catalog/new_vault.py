"""Makes new vaults, and none where there is one."""

from __future__ import annotations

import os

from catalog.errors import ObjectExists, ObjectNotFound, VaultExists
from catalog.format.admins import make_admin
from catalog.format.keys import Keys
from catalog.format.slots import KdfParameters, check_passphrase, make_slot
from catalog.format.vaultfile import VaultFile
from catalog.store.base import Store
from catalog.vault import VAULT_FILE, Vault, now_iso
from catalog.vault_json import LOST, has_copies

_ALL_LOST = "restore vault.json from a copy of the vault, or choose another address"


def create_vault(store: Store, passphrase: str, kdf: KdfParameters = KdfParameters()) -> Vault:
    """Make a vault. Raises VaultExists, WeakPassphrase or StoreError."""
    check_passphrase(passphrase)
    vault_id, master = os.urandom(16), os.urandom(32)
    keys = Keys(master, vault_id)
    created = now_iso()
    slot = make_slot(master, vault_id, passphrase, created, kdf=kdf)
    body = VaultFile(vault_id, 1, created, (slot,), (make_admin(keys, os.urandom(32), created),)).encode(keys)
    # vault.json first: if two programs create a vault at once, it alone decides which one succeeds.
    try:
        store.create(VAULT_FILE, [body])
    except ObjectExists as e:
        raise VaultExists(f"a vault already exists at {store.url}") from e
    try:
        store.create("vault/1.json", [body])
    except ObjectExists:
        pass  # left by an earlier vault; it is only a spare copy
    return Vault(store, keys, VaultFile.decode(body))


def check_no_vault(store: Store) -> None:
    """Raise VaultExists if there is a vault, before a passphrase for a new one is asked for.

    A vault that has lost its vault.json counts, too: a new vault.json would make all of it unreadable for ever,
    and a copy of the old one may exist.
    """
    # List first: another program may create a vault meanwhile, and then vault.json must be found.
    copies = has_copies(store)
    left = copies or any(True for folder in ("points/", "packs/") for _ in store.list(folder))
    try:
        store.size(VAULT_FILE)
    except ObjectNotFound:
        if not left:
            return
        raise VaultExists(
            f"the vault at {store.url} has lost its vault.json", LOST if copies else _ALL_LOST
        ) from None
    raise VaultExists(f"a vault already exists at {store.url}", "use it, or choose another address")
