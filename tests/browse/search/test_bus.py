"""The bus: every page hears what changed, once, and nobody waits for a page."""

from __future__ import annotations

import threading

import pytest

from mount.browse.resources.bus import EVERYTHING, KEPT, OF_ONE, SUBSCRIBERS, WAITING, Bus, Notice, Subscription


class Woken:
    """Counts how often a subscriber was woken."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def taken(subscriber: Subscription) -> list[Notice]:
    batch = subscriber.take()
    return [] if batch is None else batch.notices


def test_each_subscriber_hears_what_changed_and_the_same_thing_once() -> None:
    bus, woken = Bus(), Woken()
    with bus.subscribe(woken) as one, bus.subscribe(Woken()) as other:
        for _ in range(3):
            bus.publish("restore", "a")
        bus.publish("drive")
        assert woken.times == 4
        assert taken(one) == taken(other) == [Notice("restore", "a"), Notice("drive")]
        assert one.take() is None
        bus.publish("restore", "a")
        assert taken(one) == [Notice("restore", "a")]
    bus.publish("job", "b")
    assert bus.subscribers == 0 and woken.times == 5


def test_who_falls_behind_is_told_that_everything_may_have_changed() -> None:
    bus = Bus()
    subscriber = bus.subscribe(Woken())
    for n in range(WAITING):
        bus.publish("search", str(n))
    bus.publish("search", "0")  # known already
    assert len(taken(subscriber)) == WAITING
    for n in range(WAITING + 1):
        bus.publish("search", str(n))
    bus.publish("job", "late")
    assert taken(subscriber) == [EVERYTHING]
    bus.publish("job", "later")
    assert taken(subscriber) == [Notice("job", "later")]


def test_who_comes_back_hears_what_was_missed() -> None:
    bus = Bus()
    first = bus.subscribe(Woken())
    bus.publish("job", "1")
    batch = first.take()
    assert batch is not None
    first.close()
    bus.publish("job", "2")
    bus.publish("alert", "3")
    assert taken(bus.subscribe(Woken(), batch.mark)) == [Notice("job", "2"), Notice("alert", "3")]
    assert taken(bus.subscribe(Woken(), bus.mark())) == []
    for _ in range(KEPT):
        bus.publish("job", "4")
    assert taken(bus.subscribe(Woken(), batch.mark)) == [EVERYTHING]


@pytest.mark.parametrize(
    "mark", ["x", "-", "00000000-1", "{}-99", "{}--1", "{}-x", "{}-٣", "{}-" + "9" * 400, "\0"]
)
def test_a_mark_that_means_nothing_here_is_everything(mark: str) -> None:
    bus = Bus()
    epoch = bus.mark().partition("-")[0]
    assert taken(bus.subscribe(Woken(), mark.replace("{}", epoch))) == [EVERYTHING]


def test_ending() -> None:
    bus, woken = Bus(), Woken()
    subscriber = bus.subscribe(woken)
    bus.close()
    assert subscriber.closed and woken.times == 1
    bus.publish("job", "1")
    assert subscriber.take() is None
    assert bus.subscribe(Woken()).closed
    subscriber.close()


def test_too_many_subscribers_end_the_oldest() -> None:
    bus, woken = Bus(), Woken()
    oldest = bus.subscribe(woken)
    rest = [bus.subscribe(Woken()) for _ in range(SUBSCRIBERS)]
    assert oldest.closed and woken.times == 1 and not any(s.closed for s in rest)
    assert bus.subscribers == SUBSCRIBERS


def test_one_browser_does_not_use_up_its_connections() -> None:
    bus = Bus()
    others = [bus.subscribe(Woken(), owner="other"), bus.subscribe(Woken())]
    mine = [bus.subscribe(Woken(), owner="mine") for _ in range(OF_ONE + 2)]
    assert [s.closed for s in mine] == [True, True] + [False] * OF_ONE
    assert not any(s.closed for s in others) and bus.subscribers == OF_ONE + 2


def test_a_subscriber_whose_loop_has_ended_harms_nobody() -> None:
    def gone() -> None:
        raise RuntimeError("Event loop is closed")

    bus, woken = Bus(), Woken()
    dead = bus.subscribe(gone)
    bus.subscribe(woken)
    bus.publish("job", "1")
    assert dead.closed and woken.times == 1


def test_notices_from_many_threads_are_all_heard() -> None:
    bus = Bus()
    subscriber = bus.subscribe(Woken())
    heard: set[Notice] = set()

    def publish(n: int) -> None:
        for m in range(40):
            bus.publish("job", f"{n}.{m}")

    threads = [threading.Thread(target=publish, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        heard.update(taken(subscriber))
    heard.update(taken(subscriber))
    assert heard == {Notice("job", f"{n}.{m}") for n in range(5) for m in range(40)}
