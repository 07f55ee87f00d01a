"""New vaults for tests: one passphrase, keys that cost next to nothing to derive, and a store that can go away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from catalog.format.slots import KdfParameters
from catalog.new_vault import create_vault
from catalog.store.address import open_store
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore, Traffic
from catalog.vault import Vault, open_vault
from tests.kit.faults import UnreachableStore

PASSPHRASE = "a passphrase of many words"
CHEAP = KdfParameters(memory_kib=64, passes=1, lanes=1)


def new_vault(store: Store) -> Vault:
    """A new vault in a store."""
    return create_vault(store, PASSPHRASE, CHEAP)


def make_vault(folder: Path) -> Vault:
    """A new vault on disk."""
    return new_vault(open_store(folder.as_uri()))


def home_of(folder: Path, vault: str) -> dict[str, str]:
    """The variables that make `folder` the home of a user of the vault at this address, who has its passphrase."""
    return {"RPDRIVE_HOME": str(folder), "RPDRIVE_VAULT": vault, "RPDRIVE_PASSPHRASE": PASSPHRASE}


class Remote:
    """A vault behind a meter, in a store in memory that can become unreachable."""

    def __init__(self, make: Callable[[Store], Vault] = new_vault) -> None:
        self.memory = MemoryStore()
        self.away = UnreachableStore(self.memory, reachable=True)
        self.meter = MeteredStore(self.away)
        self.vault = make(self.meter)

    def opened(self) -> Vault:
        """The vault, opened once more as another process would."""
        return open_vault(self.meter, passphrase=PASSPHRASE)

    def spent(self, since: Traffic) -> Traffic:
        return self.meter.snapshot() - since

    def stored(self, *folders: str) -> int:
        """The bytes of all objects, or of those in some folders of the vault."""
        objects = self.memory.objects
        return sum(len(data) for name, data in objects.items() if not folders or name.split("/")[0] in folders)

    @property
    def requests(self) -> int:
        return self.meter.snapshot().requests

    @property
    def received(self) -> int:
        return self.meter.snapshot().received
