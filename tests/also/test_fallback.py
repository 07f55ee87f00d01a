"""A store with two places: who is asked when, and what is told. The clock is the test's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from catalog.errors import AccessDenied, Damaged, ObjectNotFound, RpdriveError, StoreUnreachable
from catalog.store.base import Store
from catalog.store.fallback import AWAY, FallbackStore
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.store.wrapper import Request, StoreWrapper, T
from tests.kit.faults import UnreachableStore

WAIT = 60.0  # seconds; only a bound on a hang


class Other:
    """Another place, which can be away or not believed."""

    url = "memory://other"

    def __init__(self, store: Store) -> None:
        self.meter = MeteredStore(store, log=True)
        self.error: RpdriveError | None = None

    def store(self) -> Store:
        if self.error is not None:
            raise self.error
        return self.meter


class World:
    """Two places with the same objects, but for one each; and a clock."""

    def __init__(self) -> None:
        self.one, self.two = MemoryStore(), MemoryStore()
        for store in (self.one, self.two):
            for name in ("vault.json", "a", "b", "c"):
                store.create(name, [name.encode() * 10])
        self.one.create("first", [b"1"])
        self.two.create("second", [b"2"])
        self.away = UnreachableStore(self.one, reachable=True)
        self.meter = MeteredStore(self.away, log=True)
        self.other = Other(self.two)
        self.told: list[str] = []
        self.now = 0.0
        self.store = FallbackStore(
            self.meter, [self.other], quick=self.meter, once=self.meter,
            away=lambda place, error: self.told.append(f"away: {place.url}"), back=lambda: self.told.append("back"),
            clock=lambda: self.now,
        )  # fmt: skip

    def asked(self) -> tuple[int, int]:
        """Requests to each place."""
        return self.meter.snapshot().requests, self.other.meter.snapshot().requests


@pytest.fixture
def world() -> World:
    return World()


READS: dict[str, Callable[[Store], object]] = {
    "get": lambda s: s.get("a", 100),
    "get_tagged": lambda s: s.get_tagged("a", 100)[0],
    "read": lambda s: s.read("a", 1, 5),
    "size": lambda s: s.size("a"),
    "list": lambda s: [row.name for row in s.list("")][:4],
    "folders": lambda s: list(s.folders("")),
}


@pytest.mark.parametrize("read", READS.values(), ids=list(READS))
def test_a_first_place_that_answers_is_the_only_one_asked(world: World, read: Callable[[Store], object]) -> None:
    assert read(world.store) == read(world.one)
    assert world.asked() == (1, 0) and not world.told


@pytest.mark.parametrize("read", READS.values(), ids=list(READS))
def test_silence_leads_to_the_other_place(world: World, read: Callable[[Store], object]) -> None:
    world.away.reachable = False
    assert read(world.store) == read(world.two)
    assert read(world.store) == read(world.two)
    assert world.asked() == (1, 2), "the first place is not asked again for a while"
    assert world.told == ["away: memory://other"] and world.store.is_away
    assert world.store.reading_from == "memory://other"


def test_the_first_place_is_read_again_once_it_is_back(world: World) -> None:
    world.away.reachable = False
    world.store.get("a", 100)
    world.now = AWAY - 0.1
    world.store.get("a", 100)
    assert world.asked() == (1, 2)
    world.now = AWAY
    world.store.get("a", 100)
    assert world.asked() == (2, 3), "it was tried, and is still away"
    world.away.reachable = True
    world.store.get("a", 100)
    assert world.asked() == (2, 4)
    world.now = 2 * AWAY
    assert world.store.get("first", 100) == b"1"
    assert world.asked() == (4, 4), "one request more finds out that it is back"
    assert world.told == ["away: memory://other", "back"] and not world.store.is_away
    assert world.store.reading_from == world.store.why_away == ""


def test_an_empty_folder_is_not_the_vault_again(world: World) -> None:
    """As the folder of a disk that is not mounted: it answers, and has nothing."""
    world.away.reachable = False
    world.store.get("a", 100)
    world.away.reachable = True
    world.one.objects.clear()
    world.now = AWAY
    assert world.store.get("a", 100) == b"a" * 10
    assert [row.name for row in world.store.list("")] == ["a", "b", "c", "second", "vault.json"]
    assert world.store.is_away


def test_what_a_place_says_counts(world: World) -> None:
    with pytest.raises(ObjectNotFound):
        world.store.get("second", 100)
    assert world.asked() == (1, 0)
    world.away.reachable = False
    with pytest.raises(ObjectNotFound):
        world.store.get("first", 100)
    assert world.asked() == (2, 1)


@pytest.mark.parametrize("error", [StoreUnreachable("away"), AccessDenied("no"), Damaged("forged")])
def test_if_no_other_place_can_be_read_the_error_is_that_of_the_first(world: World, error: RpdriveError) -> None:
    world.away.reachable, world.other.error = False, error
    for read in READS.values():
        with pytest.raises(StoreUnreachable, match="no answer"):
            read(world.store)
    assert world.asked() == (len(READS), 0), "each asks the first place, as there is no other"
    assert not world.told
    world.away.reachable = True
    assert world.store.get("first", 100) == b"1"


def test_a_listing_that_breaks_off_goes_on_elsewhere(world: World) -> None:
    rows = world.store.list("")
    seen = [next(rows).name]

    class Broken(StoreWrapper):
        def list(self, prefix: str):  # type: ignore[no-untyped-def]
            yield from list(super().list(prefix))[:2]
            raise StoreUnreachable("cut")

    world.store._quick = Broken(world.meter)
    seen += [row.name for row in rows]
    assert seen == ["a", "b", "c", "first", "vault.json"]
    assert [row.name for row in world.store.list("")] == ["a", "b", "c", "second", "vault.json"]
    assert world.told == ["away: memory://other"]


WRITES: dict[str, Callable[[Store], object]] = {
    "create": lambda s: s.create("new", [b"x"]),
    "compose": lambda s: s.compose("new", [b"x"]),
    "replace": lambda s: s.replace("a", b"x", "tag"),
    "delete": lambda s: s.delete("a"),
    "extend": lambda s: s.extend("a", 1, fixed=False),
    "locks": lambda s: list(s.locks("")),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=list(WRITES))
def test_writes_never_go_to_another_place(world: World, write: Callable[[Store], object]) -> None:
    before = dict(world.two.objects)
    world.away.reachable = False
    for _ in range(2):
        with pytest.raises(RpdriveError):
            write(world.store)
        world.store.get("a", 100)  # from now on it is known to be away
    assert world.two.objects == before
    assert {request.kind for request in world.other.meter.log or ()} == {"get"}
    asked = world.meter.snapshot().requests
    with pytest.raises(StoreUnreachable, match="nothing is written anywhere else"):
        world.store.create("new", [b"x"])
    assert world.meter.snapshot().requests == asked, "no wait for a place that is known to be away"


class Gated(StoreWrapper):
    """Requests wait at a gate, and tell that they do."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.gate, self.waiting = threading.Event(), threading.Semaphore(0)

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        self.waiting.release()
        assert self.gate.wait(WAIT)
        return call()


def test_no_lock_is_held_while_a_place_is_waited_for(world: World) -> None:
    """One thread tries the first place again and waits; the others go on at the other one."""
    world.away.reachable = False
    world.store.get("a", 100)
    slow = Gated(world.meter)
    world.store._once = slow
    world.now = AWAY
    with ThreadPoolExecutor(8) as pool:
        tries = pool.submit(world.store.get, "a", 100)
        assert slow.waiting.acquire(timeout=WAIT)
        reads = [pool.submit(world.store.get, "b", 100) for _ in range(20)]
        assert {read.result(WAIT) for read in reads} == {b"b" * 10}
        assert not tries.done() and not slow.waiting.acquire(blocking=False)
        slow.gate.set()
        assert tries.result(WAIT) == b"a" * 10


def test_one_line_however_many_readers_notice(world: World) -> None:
    world.away.reachable = False
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _n: world.store.get("a", 100), range(100))) == {b"a" * 10}
    assert world.told == ["away: memory://other"]


def test_the_clock_is_that_of_a_place_that_answers(world: World) -> None:
    world.away.reachable = False
    assert world.store.now() > 0
