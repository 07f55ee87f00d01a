"""Pruning an immutable vault on a store that locks each new object: nothing in use is ever unlocked."""

from __future__ import annotations

from catalog.errors import AccessDenied
from catalog.format.vaultfile import Immutable
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.wrapper import StoreWrapper
from catalog.vault import VAULT_FILE, Vault
from tests.kit.pruning import DAY, World

N = 30


class Worm(MemoryStore):
    """Locks each object for N days when it is stored, as a policy of the container does."""

    def _put(self, name: str, data: bytes) -> None:
        super()._put(name, data)
        if name != VAULT_FILE:  # of which overwriting makes a version
            self.locked[name] = (self._clock() + N * DAY, True)


class Immutables(World):
    """A world whose vault and store are immutable for N days."""

    def __init__(self) -> None:
        self.now = 0
        store = Worm(clock=lambda: self.now)
        super().__init__(store)
        self.memory = store
        file = self.vault.file.changed(immutable=Immutable(N, True))
        self.vault.file = file

    def opened(self, store: Store | None = None) -> Vault:
        return Vault(store or self.meter, self.vault.keys, self.vault.file)

    def ended(self) -> set[str]:
        return {name for name in self.memory.objects if self.memory.locked.get(name, (0, True))[0] <= self.now}


def test_what_is_in_use_stays_locked_and_the_rest_goes_when_its_lock_ends() -> None:
    world = Immutables()
    first = world.backup(1, 2)
    (before,) = world.objects("packs/")
    world.later(1)
    world.backup(1)
    world.forget(first)
    ended, writes, runs = set[str](), 0, 40
    for _ in range(runs):
        world.later(4.1)
        ended |= world.ended()
        world.meter.log = []
        world.prune(yes=True)
        writes += sum(request.kind == "extend" for request in world.meter.log)
        world.check()
    assert not {before, str(first)} & set(world.objects("")), "their locks have ended, and a carrier has the rest"
    used = {n for n in world.objects("") if n.split("/")[0] in ("packs", "meta", "points", "machines", "items")}
    assert len(used) >= 5 and not used & ended
    assert {world.memory.locked[name][0] - world.now >= (N // 2 - 5) * DAY for name in used} == {True}
    # Each lock is lengthened once in half its length, and not by each run.
    assert writes <= len(world.objects("")) * (runs * 4.1 // (N / 2) + 1)


class Refusing(StoreWrapper):
    """A token that may not set locks."""

    def extend(self, name: str, until: int, *, fixed: bool) -> None:
        raise AccessDenied("the token may not set locks")


def test_a_token_that_may_not_lock_costs_three_requests_and_a_line() -> None:
    world = Immutables()
    world.backup(*range(6))
    world.later(N - 1)
    done = world.prune(world.opened(Refusing(world.meter)), yes=True)
    (problem,) = [line for line in done.problems if "locks" in line]
    assert problem.startswith("locks of 3 objects could not be lengthened: the token may not")


def test_another_vault_costs_no_request_for_locks() -> None:
    world = World()
    world.backup(1)
    world.later(8)
    world.meter.log = []
    world.prune(yes=True)
    assert {"extend", "protection"}.isdisjoint({request.kind for request in world.meter.log or []})


def test_a_refused_delete_is_waited_for() -> None:
    """Somebody lengthened all locks: what is dead stays hidden, and goes when the store lets it go."""
    world = Immutables()
    first = world.backup(1)
    (dead,) = world.objects("packs/")
    world.later(1)
    world.backup(1, 2)
    world.forget(first)
    for name in world.objects("packs/"):
        world.memory.locked[name] = world.now + 200 * DAY, True
    refused = 0
    for _ in range(24):
        world.later(8)
        done = world.prune(yes=True)
        refused += done.refused
        assert dead in world.objects("packs/")
        world.check()
    assert refused, "the store refused"
    world.settle(6)
    assert dead not in world.objects("packs/")
    world.check()
