"""A vault whose clock a test moves, and a copy of it; and whether that copy is whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from catalog.copies.run import Copied, Request, Sides, copy_to
from catalog.errors import ObjectNotFound
from catalog.format.records import PointName
from catalog.format.vaultfile import MAX_VAULT_FILE, VaultFile
from catalog.ledger.records import Ledgers
from catalog.store.base import ObjectInfo, Store
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.store.wrapper import StoreWrapper
from catalog.vault import VAULT_FILE, Vault
from tests.kit.pruning import World
from tests.kit.stores import MOST

SOURCE, TARGET = "memory:source", "memory:copy"
OWN = ("vault.json", "vault/", "checks/", "marks/")  # what a copy has for itself


class Pair:
    """The vault of `world`, and a copy in `target`. What this machine notes is in `state`."""

    def __init__(self, state: Path, world: World | None = None, target: Store | None = None) -> None:
        self.world = World() if world is None else world
        vault = self.world.vault
        body = vault.file.encode(vault.keys)
        self.world.store.create(VAULT_FILE, [body])
        vault.file = VaultFile.decode(body)
        self.memory = MemoryStore(TARGET, clock=lambda: self.world.now)
        self.target: Store = self.memory if target is None else target
        self.state = state

    def copy(self, source: Store | None = None, target: Store | None = None, **request: Any) -> Copied:
        """Copy, by default with --follow, between these stores; those of the pair, if they are not given."""
        store = self.target if target is None else target
        vault = self.world.opened(source or self.world.store)
        wanted = Request(TARGET, **({"follow": True} | request))
        return copy_to(Sides(vault, SOURCE, store, store, TARGET, self.state), wanted)

    def opened(self, store: Store | None = None) -> Vault:
        """The copy, as another program opens it. Raises ObjectNotFound if there is none yet."""
        place = self.target if store is None else store
        file = VaultFile.decode(place.get(VAULT_FILE, MAX_VAULT_FILE))
        return Vault(place, file.verify(self.world.vault.keys), file)

    def visible(self) -> list[PointName]:
        """The whole points that the copy shows."""
        vault = self.opened()
        ledgers = Ledgers(vault)
        return [n for n in vault.point_names() if not ledgers.of(n.machine, n.item).is_hidden(n)]

    def check(self, read: bool = True) -> list[PointName]:
        """The copy opens, and each point that it shows holds what was saved: the contents are read. These points.

        Where there is no vault.json, there is nothing else.
        """
        try:
            vault = self.opened()
        except ObjectNotFound:
            assert not list(self.target.list(""))
            return []
        assert vault.file.is_following
        shown = self.visible()
        for name in shown:
            if read:
                assert self.world.read(name, vault) == self.world.points[name], f"point {name.sequence}"
        return shown

    def objects(self, store: Store | None = None) -> dict[str, bytes]:
        """All that counts of a store, by default the copy."""
        place = self.target if store is None else store
        names = [info.name for info in place.list("") if not info.name.startswith(OWN)]
        return {name: place.get(name, MOST) for name in names}

    def check_equal(self) -> None:
        """The copy has all that the source has, and nothing else."""
        ours, theirs = self.objects(self.world.store), self.objects()
        assert sorted(ours) == sorted(theirs)
        assert ours == theirs

    def check_equal_but_for_what_waits(self) -> None:
        """The copy has all that the source has; what else it has, is to go some day."""
        ours, theirs = self.objects(self.world.store), self.objects()
        assert {name: theirs.get(name) for name in ours} == ours

    def saved(self) -> tuple[Any, dict[str, bytes], dict[str, int], bytes | None]:
        """Both sides and the notes, for `restore`."""
        notes = next(iter(self.state.glob("copy-*.sqlite")), None)
        kept = None if notes is None else notes.read_bytes()
        return self.world.saved(), dict(self.memory.objects), dict(self.memory._modified), kept

    def restore(self, saved: tuple[Any, dict[str, bytes], dict[str, int], bytes | None]) -> None:
        self.world.restore(saved[0])
        self.memory.objects, self.memory._modified = dict(saved[1]), dict(saved[2])
        for path in self.state.glob("copy-*.sqlite"):
            path.unlink()
            if saved[3] is not None:
                path.write_bytes(saved[3])


class Meanwhile(StoreWrapper):
    """The world's store; when a listing of all of it comes to a name, something happens, so many times."""

    def __init__(self, world: World, at: str, happens: Callable[[], object], times: int = 1) -> None:
        super().__init__(world.store)
        self._at, self._happens, self._left = at, happens, times

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        if prefix or not self._left:
            yield from self.inner.list(prefix)
            return
        yield from [info for info in self.inner.list("") if info.name < self._at]
        self._left -= 1
        self._happens()
        yield from [info for info in self.inner.list("") if info.name >= self._at]


def lose(store: MemoryStore, names: Iterable[str]) -> None:
    """Objects vanish, as by someone who deletes them."""
    for name in list(names):
        store.delete(name)


def requests(store: MeteredStore) -> Counter[str]:
    """The requests to a store, by kind; the store's clock is none."""
    assert store.log is not None
    return Counter(request.kind for request in store.log if request.kind != "now")
