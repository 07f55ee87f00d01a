"""The wrappers: exact counts, bounded patience, and the faults that other tests rely on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import pytest

from catalog.errors import (
    AccessDenied,
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    ShortRead,
    StoreFull,
    StoreUnreachable,
)
from catalog.store.base import LIST_PAGE, Range
from catalog.store.delayed import DelayedStore
from catalog.store.memory import MemoryStore
from catalog.store.metered import Count, MeteredStore, Traffic
from catalog.store.retrying import LONGEST_PAUSE, QUIET, RetryingStore
from catalog.store.wrapper import Request, StoreWrapper
from tests.kit.faults import (
    FailOnceStore,
    FullStore,
    LostAnswerStore,
    StopAtStore,
    Stopped,
    TruncatingStore,
    UnreachableStore,
)
from tests.kit.imports import sources
from tests.kit.stores import MOST


class Clock:
    """Time that passes only during pauses."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def test_requests_and_bytes_are_counted_by_kind() -> None:
    store = MeteredStore(MemoryStore(), log=True)
    store.create("vault.json", [b"12", b"345"])
    data, tag = store.get_tagged("vault.json", MOST)
    store.replace("vault.json", data + b"67", tag)
    store.get("vault.json", MOST)
    store.read("vault.json", 1, 3)
    store.read("vault.json", 5, 30, up_to=True)
    store.size("vault.json")
    list(store.list("v"))
    store.delete("vault.json")
    traffic = store.snapshot()
    assert traffic == Traffic(
        create=Count(1, 5),
        replace=Count(1, 7),
        get=Count(2, 12),
        read=Count(2, 5),
        list=Count(1, 0),
        size=Count(1, 0),
        delete=Count(1, 0),
    )
    assert (traffic.requests, traffic.sent, traffic.received) == (9, 12, 17)
    assert store.log is not None
    assert store.log[0] == Request("create", "vault.json", 0, 5)
    assert store.log[4:6] == [Request("read", "vault.json", 1, 3), Request("read", "vault.json", 5, 2)]


def test_failed_requests_count_and_carry_nothing() -> None:
    store = MeteredStore(MemoryStore())
    store.create("a", [b"data"])
    before = store.snapshot()
    with pytest.raises(ObjectExists):
        store.create("a", [b"other"])
    with pytest.raises(ObjectNotFound):
        store.get("b", MOST)
    with pytest.raises(ShortRead):
        store.read("a", 0, 10)
    assert store.snapshot() - before == Traffic(create=Count(1, 0), get=Count(1, 0), read=Count(1, 0))


@pytest.mark.parametrize(
    ("names", "requests"), [(0, 1), (1, 1), (LIST_PAGE, 1), (LIST_PAGE + 1, 2), (2 * LIST_PAGE + 1, 3)]
)
def test_a_listing_counts_its_pages(names: int, requests: int) -> None:
    memory = MemoryStore()
    memory.objects = {f"n/{number:06}": b"" for number in range(names)}
    store = MeteredStore(memory)
    assert len(list(store.list("n/"))) == names
    assert store.snapshot() == Traffic(list=Count(requests, 0))


def test_counts_are_exact_under_many_threads() -> None:
    store = MeteredStore(MemoryStore())
    store.create("a", [b"0123456789"])
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: store.read("a", 2, 3), range(4000)))
    assert store.snapshot().read == Count(4000, 12000)


def test_a_delay_comes_before_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("catalog.store.delayed.time.sleep", slept.append)
    store = DelayedStore(MemoryStore(), 0.03)
    store.create("a", [b"data"])
    assert store.read("a", 1, 2) == b"at"
    assert [info.name for info in store.list("")] == ["a"]
    assert slept == [0.03] * 3


def test_retries_end_when_patience_does(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    away = UnreachableStore(MemoryStore())
    store = RetryingStore(away, 60, clock=clock, pause=clock.pause)
    with pytest.raises(StoreUnreachable):
        store.get("vault.json", MOST)
    assert 30 < clock.now - 1000 <= 60
    assert away.seen == len(clock.pauses) + 1
    assert 8 <= away.seen <= 20
    assert clock.pauses[0] <= 0.25 and max(clock.pauses) <= LONGEST_PAUSE
    assert clock.pauses[3] > clock.pauses[0]


def test_the_store_that_comes_back_answers() -> None:
    memory = MemoryStore()
    memory.create("a", [b"data"])
    away = UnreachableStore(memory)
    clock = Clock()

    def pause(seconds: float) -> None:
        clock.pause(seconds)
        away.reachable = len(clock.pauses) == 3

    assert RetryingStore(away, 60, clock=clock, pause=pause).get("a", MOST) == b"data"
    assert away.seen == 4


@pytest.mark.parametrize(
    "error", [AccessDenied, ObjectNotFound, ObjectExists, ObjectChanged, StoreFull], ids=lambda e: e.__name__
)
def test_permanent_errors_are_not_repeated(error: type[Exception]) -> None:
    class Refusing(MemoryStore):
        asked = 0

        def get(self, name: str, most: int) -> bytes:
            self.asked += 1
            raise error("no")

    inner = Refusing()
    with pytest.raises(error):
        RetryingStore(inner, pause=lambda _: None).get("a", MOST)
    assert inner.asked == 1


def test_a_transfer_that_broke_off_is_repeated() -> None:
    memory = MemoryStore()
    memory.create("a", [b"data"])
    store = RetryingStore(TruncatingStore(memory, times=2), pause=lambda _: None)
    assert store.read("a", 0, 4) == b"data"


def test_closing_ends_the_patience() -> None:
    store = RetryingStore(UnreachableStore(MemoryStore()), 3600)
    store.close()
    with pytest.raises(StoreUnreachable):
        store.get("a", MOST)


def test_each_fault_does_what_its_name_says() -> None:
    memory = MemoryStore()
    memory.create("a", [b"data"])

    def fails(error: type[BaseException], call: Callable[[], object]) -> None:
        with pytest.raises(error):
            call()

    once = FailOnceStore(memory, kinds=["create"])
    assert once.get("a", MOST) == b"data"
    fails(StoreUnreachable, lambda: once.create("b", [b"x"]))
    assert "b" not in memory.objects
    once.create("b", [b"x"])

    lossy = LostAnswerStore(memory)
    fails(StoreUnreachable, lambda: lossy.create("c", [b"x"]))
    assert memory.objects["c"] == b"x"
    lossy.create("d", [b"x"])

    full = FullStore(memory, room=5)
    full.create("e", [b"123"])
    fails(StoreFull, lambda: full.create("f", [b"456"]))
    assert "f" not in memory.objects
    full.create("g", [b"45"])

    short = TruncatingStore(memory, prefix="a")
    fails(ShortRead, lambda: short.read("a", 0, 1))
    assert short.read("b", 0, 1) == b"x"

    away = UnreachableStore(memory)
    fails(StoreUnreachable, lambda: list(away.list("")))
    away.reachable = True
    assert len(list(away.list(""))) == 6


@pytest.mark.parametrize("after", [False, True])
def test_nothing_happens_after_the_stop(after: bool) -> None:
    memory = MemoryStore()
    store = StopAtStore(memory, 3, after=after, kinds=["create"])
    assert list(store.list("")) == []
    store.create("1", [b""])
    store.create("2", [b""])
    for name in ("3", "4"):
        with pytest.raises(Stopped):
            store.create(name, [b""])
    assert set(memory.objects) == ({"1", "2", "3"} if after else {"1", "2"})
    with pytest.raises(Stopped):
        store.get("1", MOST)


def test_an_outage_is_told_once() -> None:
    clock = Clock()
    memory = MemoryStore()
    memory.create("a", [b"data"])
    away = UnreachableStore(memory)
    told: list[float] = []

    def pause(seconds: float) -> None:
        clock.pause(seconds)
        away.reachable = clock.now > 1030

    store = RetryingStore(away, 60, clock=clock, pause=pause, waiting=lambda: told.append(clock.now))
    assert store.get("a", MOST) == b"data"
    assert len(told) == 1 and 1000 + QUIET <= told[0] < 1000 + QUIET + LONGEST_PAUSE
    away.reachable = False
    clock.now = 1000.0
    assert store.get("a", MOST) == b"data"
    assert len(told) == 2
    clock.now, away.reachable = 1000.0, False
    quick = RetryingStore(
        FailOnceStore(memory), 60, clock=clock, pause=clock.pause, waiting=lambda: told.append(0.0)
    )
    assert quick.get("a", MOST) == b"data"
    assert len(told) == 2


def test_a_composition_counts_as_azure_counts_it() -> None:
    store = MeteredStore(MemoryStore())
    store.create("a", [b"0123456789"])
    before = store.snapshot()
    store.compose("b", [b"head", Range("a", 2, 5)])
    assert store.snapshot() - before == Traffic(compose=Count(4, 4))
    assert store.snapshot().sent == 14


def test_a_source_that_does_not_answer_is_not_asked_again_by_the_target() -> None:
    source, target = MemoryStore(), MemoryStore()
    source.create("one", [b"1"])
    away = MeteredStore(UnreachableStore(source))
    pauses: list[float] = []
    patient = RetryingStore(target, 60.0, pause=pauses.append)
    with pytest.raises(StoreUnreachable):
        patient.take("one", away, 1)
    assert away.snapshot().read.requests == 1
    with pytest.raises(ShortRead):
        patient.take("one", TruncatingStore(source), 1)
    assert pauses == []
    patient.take("one", RetryingStore(FailOnceStore(source), 60.0, pause=pauses.append), 1)
    assert len(pauses) == 1 and target.objects == source.objects


def test_a_wrapper_with_ways_of_its_own_has_them_for_copies_too() -> None:
    """`pour` and `lend` are reads and `take` is a create: one left out would go past what the wrapper does."""
    for module in sources():
        if module.startswith("catalog."):
            import_module(module)
    found: list[type[StoreWrapper]] = [StoreWrapper]
    for kind in found:
        found += kind.__subclasses__()
    ours = [kind for kind in found[1:] if kind.__module__.startswith("catalog.")]
    assert len(ours) >= 8
    for kind in ours:
        if "read" in vars(kind):
            assert {"pour", "lend"} <= vars(kind).keys(), kind
        if "create" in vars(kind):
            assert "take" in vars(kind), kind
