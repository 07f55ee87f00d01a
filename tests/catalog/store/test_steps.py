"""The store whose calls happen in an order that the test chooses."""

from __future__ import annotations

import pytest

from catalog.errors import ObjectExists
from catalog.store.memory import MemoryStore
from tests.kit.stores import MOST, Scheduler, StepStore


def test_calls_happen_in_the_chosen_order() -> None:
    memory, scheduler = MemoryStore(), Scheduler()
    for actor in ("a", "b"):
        store = StepStore(memory, scheduler, actor)

        def work(store: StepStore = store, mine: bytes = actor.encode()) -> None:
            store.create("first", [mine])
            store.create(f"only/{mine.decode()}", [store.get("first", MOST)])

        scheduler.start(actor, work)
    assert [(p.actor, p.request.name) for p in scheduler.pending()] == [("a", "first"), ("b", "first")]
    assert memory.objects == {}
    assert scheduler.step("b") is not None
    assert memory.objects == {"first": b"b"}
    scheduler.step("a")
    assert scheduler.ended("a")
    assert type(scheduler.errors["a"]) is ObjectExists
    assert not scheduler.ended("b")
    scheduler.run("b")
    assert memory.objects == {"first": b"b", "only/b": b"b"}
    assert scheduler.step("b") is None


@pytest.mark.parametrize("after", [False, True])
def test_an_actor_ends_before_or_after_a_call(after: bool) -> None:
    memory, scheduler = MemoryStore(), Scheduler()
    store = StepStore(memory, scheduler, "a")

    def work() -> None:
        try:
            store.create("one", [b""])
            store.create("two", [b""])
        finally:
            store.create("three", [b""])  # a process that was killed does not tidy up

    scheduler.start("a", work)
    scheduler.step("a")
    scheduler.stop("a", after=after)
    assert scheduler.ended("a")
    assert list(memory.objects) == (["one", "two"] if after else ["one"])


def test_time_passes_when_the_test_says_so() -> None:
    clock = [10**18]
    memory, scheduler = MemoryStore(clock=lambda: clock[0]), Scheduler()
    store = StepStore(memory, scheduler, "a")
    seen: list[int] = []

    def work() -> None:
        seen.append(store.now())
        seen.append(store.create("one", [b""]))

    scheduler.start("a", work)
    scheduler.step("a")
    clock[0] += 7 * 86400 * 10**9
    scheduler.run("a")
    assert seen == [10**18, 10**18 + 7 * 86400 * 10**9]
    assert [info.modified for info in memory.list("")] == seen[1:]
