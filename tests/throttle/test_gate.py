"""Bytes against a fake clock: through stores, in pieces, with pauses, in both directions."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import held
from catalog.errors import Paused, StoreError, StoreUnreachable, TooLate
from catalog.store.azure.store import AzureStore
from catalog.store.base import Range, Store
from catalog.store.deadline import Deadline
from catalog.store.flow import PIECE
from catalog.store.local import LocalStore
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.store.retrying import RetryingStore
from catalog.store.stack import StoreStack
from catalog.store.throttled import ThrottledStore
from catalog.throttle import gate as gate_module
from catalog.throttle.bucket import Bucket
from catalog.throttle.gate import LOOK, SILENCE, Throttle
from catalog.throttle.rates import Limits
from tests.kit.azurite import Azurite
from tests.throttle.world import Recorded, Script

MIB = 1 << 20
MOST = 1 << 30
RATE = 256 << 10
DATA = os.urandom(MIB) * 2
Make = Callable[[], Store]


@pytest.fixture(params=["folder", "azure"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "folder":
        return lambda: LocalStore(tmp_path / "vault")
    server: Azurite = request.getfixturevalue("azurite")
    name = f"throttle-{os.urandom(6).hex()}"
    server.container(name)
    return lambda: AzureStore("devstoreaccount1", name, environ=server.environ)


def test_an_upload_and_a_download_go_in_pieces_at_the_rate(make: Make) -> None:
    gate = Recorded((0, Limits(RATE, 2 * RATE)))
    store = ThrottledStore(make(), gate)
    store.create("packs/one", [DATA[:100], DATA[100:]])
    seconds = gate.script.now_is
    assert len(DATA) / RATE - PIECE / RATE <= seconds + 1e-6 and seconds <= len(DATA) / RATE + LOOK
    gate.check_rate(RATE, PIECE)
    assert store.read("packs/one", 0, len(DATA)) == DATA
    assert gate.script.now_is - seconds <= len(DATA) / (2 * RATE) + LOOK
    gate.check_rate(2 * RATE, PIECE, "down")
    assert store.get("packs/one", MOST) == DATA
    gate.check_rate(2 * RATE, PIECE, "down")
    assert gate.passed()[:2] == (len(DATA), 2 * len(DATA))
    assert max(length for _at, _way, length in gate.log) <= PIECE
    assert gate.passed().held == pytest.approx(gate.script.now_is)


def test_a_pause_begins_and_ends_within_an_object(make: Make) -> None:
    """Nothing goes in the pause; the request under way is ended after a while, and sent again."""
    gate = Recorded((0, Limits(RATE, RATE)), (3, Limits(0, 0)), (3603, Limits(RATE, RATE)))
    meter = MeteredStore(make())
    store = ThrottledStore(meter, gate)
    store.create("packs/one", [DATA])
    assert gate.sent(3, 3603) == 0 and 3 * RATE - PIECE <= gate.sent(0, 3) <= 3 * RATE + PIECE
    assert gate.sent(3603, 9999) == len(DATA)
    assert meter.snapshot().create.requests == 2 and meter.snapshot().create.bytes == len(DATA)
    assert gate.lines == ["paused by the script"]
    now = gate.script.now_is
    gate.script.rows += [(now + 2, Limits(0, 0)), (now + 10, Limits(RATE, RATE))]
    assert store.read("packs/one", 0, len(DATA)) == DATA
    assert meter.snapshot().read.requests == 1  # a short pause does not end it
    assert gate.sent(now + 2, now + 10, "down") == 0
    assert SILENCE > 10 - 2


def test_a_limit_that_is_set_or_lifted_counts_within_the_object(make: Make) -> None:
    gate = Recorded((0, Limits(RATE, None)), (2, Limits(2 * RATE, None)), (3, Limits()))
    store = ThrottledStore(make(), gate)
    store.create("packs/one", [DATA])
    assert 2 * RATE - PIECE <= gate.sent(0, 2) <= 2 * RATE + PIECE
    assert 2 * RATE - 2 * PIECE <= gate.sent(2, 3) <= 2 * RATE + 2 * PIECE
    assert gate.script.now_is <= 3 + LOOK
    assert store.read("packs/one", 0, len(DATA)) == DATA and gate.passed().down == len(DATA)


def test_what_a_store_does_not_ask_for_in_pieces_is_paid_afterwards() -> None:
    gate = Recorded((0, Limits(RATE, RATE)))
    store = ThrottledStore(MemoryStore(), gate)
    store.create("a", [DATA])
    store.compose("b", [Range("a", 0, 10), DATA[:10]])
    store.get_tagged("b", MOST)
    assert gate.passed()[:2] == (len(DATA) + 10, 20)
    gate.take("up", 1)
    assert gate.script.now_is == pytest.approx((len(DATA) + 10) / RATE)


def test_listings_and_other_requests_pass(make: Make) -> None:
    gate = Recorded()
    store = ThrottledStore(make(), gate)
    for n in range(3):
        store.create(f"a/{n}", [b"x"])
    assert [row.name for row in store.list("a/")] == ["a/0", "a/1", "a/2"]
    assert list(store.folders("")) == ["a"]
    gate.script.rows += [(0, Limits(0, 0)), (900, Limits())]
    assert store.size("a/0") == 1
    store.delete("a/0")
    assert store.now() > 0 and gate.script.now_is == 0
    assert [row.name for row in store.list("a/")] == ["a/1", "a/2"]
    assert gate.script.now_is >= 900


def test_the_deadline_is_looked_at_after_a_pause(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that may be created only until a moment is not created by a request that a pause has delayed."""
    monkeypatch.setattr(gate_module, "LOOK", 300.0)
    passed = False

    class Until(Deadline):
        def passed(self) -> bool:
            return passed

    class Sleeper(Recorded):
        def pass_time(self, seconds: float) -> None:
            nonlocal passed
            super().pass_time(seconds)
            passed = self.script.now_is > 42 * 3600

    gate = Sleeper((0, Limits(0, 0)), (50 * 3600, Limits()))
    until = Until(0.0, 0)
    store = RetryingStore(ThrottledStore(make(), gate), 60.0)
    with pytest.raises(TooLate):
        store.create("points/one", [b"x"], until=until)
    assert list(store.list("points/")) == []
    # The same, with the pause in the middle of the bytes.
    passed = False
    gate.script.now_is = 0.0
    gate.script.rows = [(0.0, Limits(RATE, None)), (1.0, Limits(0, 0)), (50 * 3600.0, Limits())]
    with pytest.raises(TooLate):
        store.create("points/two", [DATA], until=until)
    assert list(store.list("points/")) == []


def test_who_has_a_person_waiting_is_not_held_back_in_a_pause() -> None:
    gate = Recorded((0, Limits(0, 0)), patient=False)
    store = ThrottledStore(MemoryStore(), gate)
    with pytest.raises(Paused, match="paused by the script"):
        store.get("vault.json", MOST)
    assert gate.script.now_is == 0.0


def test_closing_ends_all_waits() -> None:
    stopped = threading.Event()
    waiting = threading.Event()

    def pause(seconds: float) -> None:
        waiting.set()
        stopped.wait(seconds)

    gate = Throttle(Script((0, Limits(0, 0))), pause=pause)
    stack = StoreStack(MemoryStore(), 60.0, gate=gate)
    errors: list[StoreError] = []

    def send() -> None:
        try:
            stack.front().create("a", [b"x"])
        except StoreError as e:
            errors.append(e)

    thread = threading.Thread(target=send)
    thread.start()
    waiting.wait()
    stack.front().stop_waiting()
    stopped.set()
    thread.join()
    assert len(errors) == 1 and "held" in str(errors[0])


def test_time_at_the_gate_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a pause that is longer than the patience with an outage, the first failed attempt is repeated."""
    gate = Recorded((0, Limits(0, 0)), (9 * 3600, Limits()))
    monkeypatch.setattr(held, "time", SimpleNamespace(monotonic=lambda: gate.script.now_is))

    class Stale(MemoryStore):
        failures = 2

        def get(self, name: str, most: int) -> bytes:
            if self.failures:
                self.failures -= 1
                raise StoreUnreachable("the connection was closed over night")
            return b"x"

    store = RetryingStore(ThrottledStore(Stale(), gate), 60.0, pause=gate.pass_time)
    assert store.get("a", MOST) == b"x"
    assert gate.script.now_is > 9 * 3600


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from([0.0, 1e3, 5e4]), st.integers(1, 10**5)), max_size=30))
def test_a_bucket_never_lets_more_through_than_its_rate(rows: list[tuple[float, float, int]]) -> None:
    """Many threads ask at many moments, and the rate changes: who may go has waited for all bytes before it."""
    bucket, now, allowed, rate = Bucket(), 0.0, 0.0, 0.0
    waiting: list[tuple[float, int]] = []
    gone = 0
    bucket.ticket(now, rate, 0)
    for seconds, new_rate, length in rows:
        allowed += max(rate, new_rate) * seconds
        now, rate = now + seconds, new_rate
        waiting.append((bucket.ticket(now, rate, length), length))
        for ticket, size in list(waiting):
            if bucket.wait(now, rate, ticket) == 0.0:
                waiting.remove((ticket, size))
                gone += size
        assert gone <= allowed + 10**5 + 1
