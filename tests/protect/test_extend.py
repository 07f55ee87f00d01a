"""Locks of objects in use are lengthened, each once in half its length; those of others are left to end."""

from __future__ import annotations

import pytest

from catalog.errors import AccessDenied, NotSupported, ObjectImmutable, ObjectNotFound, StoreError, StoreUnreachable
from catalog.protect.extend import DAY, Extended, extend_locks
from catalog.store.base import Store
from catalog.store.local import LocalStore
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.store.wrapper import StoreWrapper

N = 30
FOLDERS = ("meta/", "packs/")


class World:
    """A store of ten packs, of which the even ones are in use, and its clock."""

    def __init__(self) -> None:
        self.now = 1000 * DAY
        self.memory = MemoryStore(clock=lambda: self.now)
        self.meter = MeteredStore(self.memory, log=True)
        self.names = [f"{folder}00/{n}" for folder in FOLDERS for n in range(5)]
        for name in (*self.names, "vault.json"):
            self.memory.create(name, [b"1"])

    def in_use(self, name: str) -> bool:
        return int(name[-1]) % 2 == 0

    def extend(self, store: Store | None = None, *, fixed: bool = True) -> Extended:
        return extend_locks(store or self.meter, FOLDERS, self.in_use, days=N, now=self.now, fixed=fixed)

    def sent(self) -> dict[str, int]:
        log = self.meter.log or []
        found = {kind: sum(r.kind == kind for r in log) for kind in ("list", "extend")}
        assert len(log) == sum(found.values()), "nothing else is asked"
        log.clear()
        return found


@pytest.fixture
def world() -> World:
    return World()


def test_each_lock_is_lengthened_once_in_half_its_length(world: World) -> None:
    assert world.extend() == Extended(looked=6, extended=6)
    assert world.sent() == {"list": 2, "extend": 6}
    used = {name for name in world.names if world.in_use(name)}
    assert world.memory.locked == dict.fromkeys(used, (world.now + N * DAY, True))
    writes = 0
    for _day in range(10 * N):
        world.now += DAY
        done = world.extend()
        writes += done.extended
        assert (done.looked, done.extended + done.lasting, done.failed) == (6, 6, 0)
        assert world.sent() == {"list": 2, "extend": done.extended}
        soonest = min(until for until, _fixed in world.memory.locked.values())
        assert soonest - world.now >= N // 2 * DAY, "at least half of the days are left, whenever somebody looks"
    assert writes == 6 * (10 * N // (N // 2 + 1))


def test_what_is_no_longer_in_use_can_be_deleted_when_its_lock_ends(world: World) -> None:
    world.extend()
    world.in_use = lambda name: name != "packs/00/2"  # type: ignore[method-assign]
    with pytest.raises(ObjectImmutable):
        world.memory.delete("packs/00/2")
    world.now += N * DAY
    world.extend()
    world.memory.delete("packs/00/2")
    with pytest.raises(ObjectImmutable):
        world.memory.delete("packs/00/4")


def test_a_lock_is_never_shortened_and_never_loosened(world: World) -> None:
    world.memory.extend("packs/00/2", world.now + 400 * DAY, fixed=False)
    world.memory.extend("packs/00/4", world.now + 10 * DAY, fixed=True)
    assert world.extend(fixed=False) == Extended(looked=6, extended=5, lasting=1)
    assert world.memory.locked["packs/00/2"] == (world.now + 400 * DAY, False)
    assert world.memory.locked["packs/00/4"] == (world.now + N * DAY, True)
    assert world.extend(fixed=True) == Extended(looked=6, extended=5, lasting=1)
    assert world.memory.locked["packs/00/2"] == (world.now + 400 * DAY, True)


class Failing(StoreWrapper):
    """Refuses to lock these objects."""

    def __init__(self, inner: Store, errors: dict[str, StoreError]) -> None:
        super().__init__(inner)
        self.errors = errors

    def extend(self, name: str, until: int, *, fixed: bool) -> None:
        if name in self.errors:
            raise self.errors[name]
        super().extend(name, until, fixed=fixed)


def test_an_object_that_fails_costs_that_object(world: World) -> None:
    first = StoreError("a shorter lock")
    errors = {"meta/00/2": first, "packs/00/0": ObjectNotFound("gone"), "packs/00/2": StoreError("another")}
    assert world.extend(Failing(world.meter, errors)) == Extended(6, 3, 0, 2, first)
    with pytest.raises(StoreUnreachable):
        world.extend(Failing(world.meter, {"meta/00/2": StoreUnreachable("away")}))


def test_a_token_that_may_not_lock_is_not_tried_for_each_object(world: World) -> None:
    refused = dict[str, StoreError]((name, AccessDenied("the token may not set locks")) for name in world.names)
    done = world.extend(Failing(world.meter, refused))
    assert (done.looked, done.failed, done.extended) == (3, 3, 0)


def test_a_store_without_locks_says_so(world: World, tmp_path: object) -> None:
    with pytest.raises(NotSupported):
        world.extend(Failing(world.meter, {name: NotSupported("no such call") for name in world.names}))
    with pytest.raises(NotSupported):
        world.extend(LocalStore(str(tmp_path)))
