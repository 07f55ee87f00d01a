"""A transfer that is stopped, overtaken, held back or badly served: nothing is half copied, and it can go on."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from catalog.errors import Paused, StoreUnreachable
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.store.retrying import RetryingStore
from catalog.store.stack import StoreStack
from catalog.store.throttled import ThrottledStore
from catalog.store.wrapper import Request, StoreWrapper, T
from catalog.throttle.rates import Limits
from catalog.transfer.engine import transfer
from catalog.transfer.outcome import Outcome, Wanted
from tests.kit.faults import FailOnceStore, LostAnswerStore, StopAtStore, Stopped
from tests.throttle.world import Recorded


def filled(count: int = 12, size: int = 100) -> MemoryStore:
    store = MemoryStore()
    for number in range(count):
        store.objects[f"packs/{number:04}"] = bytes([number]) * size
    return store


def wanted(store: MemoryStore) -> list[Wanted]:
    return [Wanted(name, len(data)) for name, data in sorted(store.objects.items())]


@pytest.mark.parametrize("parallel", [1, 5])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_process_that_ends_at_any_call_leaves_whole_objects_and_goes_on(
    side: str, after: bool, parallel: int
) -> None:
    source, at = filled(), 0
    while True:
        at += 1
        target = MemoryStore()
        stores: dict[str, Store] = {"source": source, "target": target}
        stop = stores[side] = StopAtStore(stores[side], at, after=after)
        told: list[str] = []
        try:
            transfer(
                stores["source"], stores["target"], wanted(source),
                parallel=parallel, on_copied=lambda one, told=told: told.append(one.name),  # type: ignore[misc]
            )  # fmt: skip
        except Stopped:
            pass
        assert all(source.objects[name] == data for name, data in target.objects.items())
        assert target.objects.keys() >= set(told), "what was told is there"
        outcome = transfer(source, target, wanted(source))
        assert outcome.copied + outcome.present == 12
        assert target.objects == source.objects
        if not stop.stopped:
            break
    assert at == 13, "one call of either store for each object, and each was the last one"


def test_two_transfers_at_once_share_the_work() -> None:
    source, target = filled(200), MemoryStore()
    both = threading.Barrier(2)
    outcomes = [Outcome(), Outcome()]

    def copy(outcome: Outcome) -> None:
        both.wait()
        transfer(source, target, wanted(source), into=outcome)

    threads = [threading.Thread(target=copy, args=(outcome,)) for outcome in outcomes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.objects == source.objects
    assert sum(outcome.copied for outcome in outcomes) == 200
    for outcome in outcomes:
        assert outcome.copied + outcome.present == 200 and outcome.is_whole


def test_an_object_that_comes_and_goes_at_the_target_ends() -> None:
    class ComingAndGoing(StoreWrapper):
        def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
            memory = self.inner
            assert isinstance(memory, MemoryStore)
            if request.kind == "create":
                memory.objects[request.name] = b"other"
            if request.kind == "size":
                memory.objects.pop(request.name, None)
            return call()

    source = filled(1)
    outcome = transfer(source, ComingAndGoing(MemoryStore()), wanted(source))
    assert outcome.damaged_count == 1
    assert "by turns" in outcome.damaged[0].reason


@pytest.mark.parametrize("fault", [FailOnceStore, LostAnswerStore])
def test_requests_without_an_answer_are_repeated(fault: Callable[..., Store]) -> None:
    source, target = filled(), MemoryStore()
    patient = RetryingStore(fault(target, kinds=("create",)), 60.0, pause=lambda _: None)
    outcome = transfer(source, patient, wanted(source))
    assert (outcome.copied, outcome.present, outcome.is_whole) == (12, 0, True)
    assert target.objects == source.objects


def test_a_store_whose_answers_are_all_lost_is_found_complete_by_the_next_transfer() -> None:
    source, target = filled(), MemoryStore()
    with pytest.raises(StoreUnreachable):
        transfer(source, LostAnswerStore(target, None), wanted(source), parallel=1)
    outcome = transfer(source, target, wanted(source))
    assert outcome.present > 0 and outcome.is_whole
    assert target.objects == source.objects


@pytest.mark.parametrize("side", ["source", "target"])
def test_the_gate_of_each_store_is_asked_for_its_own_way(side: str) -> None:
    source, target = filled(6, 200_000), MemoryStore()
    gates = {
        name: Recorded((0.0, Limits(up=100_000, down=100_000) if name == side else Limits()))
        for name in ("source", "target")
    }
    outcome = transfer(
        ThrottledStore(source, gates["source"]), ThrottledStore(target, gates["target"]), wanted(source), parallel=1
    )
    assert outcome.is_whole and target.objects == source.objects
    passed = {name: gate.passed() for name, gate in gates.items()}
    assert (passed["source"].up, passed["source"].down) == (0, 1_200_000)
    assert (passed["target"].up, passed["target"].down) == (1_200_000, 0)


def test_a_limit_that_lets_nothing_through_ends_it() -> None:
    source, target = filled(), MemoryStore()
    gate = Recorded((0.0, Limits(up=0, down=0)), patient=False)
    with pytest.raises(Paused):
        transfer(source, ThrottledStore(target, gate), wanted(source))
    assert target.objects == {}


def test_ctrl_c_ends_waits_for_a_limit() -> None:
    source, target = filled(), MemoryStore()
    held, ended = threading.Event(), threading.Event()

    class Held(StoreWrapper):
        def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
            if request.name == "packs/0001":
                held.set()
                assert ended.wait(60)
            return call()

        def stop_waiting(self) -> None:
            ended.set()

    def interrupt(one: Wanted) -> None:
        assert held.wait(60)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer(source, Held(target), wanted(source), parallel=2, on_copied=interrupt)
    assert ended.is_set()


def test_requests_pass_a_whole_stack_and_are_counted_once() -> None:
    source, target = StoreStack(filled(), 10.0), StoreStack(MemoryStore(), 10.0)
    outcome = transfer(source.front(), target.front(), wanted(source.meter.inner))  # type: ignore[arg-type]
    assert outcome.copied == 12
    assert source.meter.snapshot().requests == source.meter.snapshot().read.requests == 12
    assert target.meter.snapshot().requests == target.meter.snapshot().create.requests == 12
    assert isinstance(target.meter, MeteredStore)
