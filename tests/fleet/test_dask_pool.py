"""What the pool makes of Dask's answers: on a client of this process, in whose loop answers come late or never."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mount.fleet.dask_pool import DaskPool
from mount.fleet.engine import Ended


class FakeFuture:
    """Has ended already, as `order` says: `lost` was at a worker that is cut off, `odd` raised an error."""

    def __init__(self, order: bytes) -> None:
        self.order, self.released = order, False
        self.status = {b"odd": "error", b"withdrawn": "cancelled"}.get(order, "finished")

    def add_done_callback(self, call: Callable[[FakeFuture], None]) -> None:
        call(self)

    async def _error(self) -> BaseException:
        return KeyError("what only the worker knows")

    def exception(self, **_kind: bool) -> Any:
        return self._error()

    def release(self) -> None:
        self.released = True


class FakeClient:
    """A client of a scheduler: what it fetches comes from `order`. It is its own loop, in a thread."""

    status = "running"

    def __init__(self) -> None:
        self.loop, self.asyncio_loop = self, asyncio.new_event_loop()
        self.cut_off: list[asyncio.Event] = []
        self._thread = threading.Thread(target=self.asyncio_loop.run_forever)
        self._thread.start()

    def add_callback(self, call: Callable[..., Any], *args: Any) -> None:
        asyncio.run_coroutine_threadsafe(call(*args), self.asyncio_loop)

    def submit(self, _asked: object, order: bytes, **_more: object) -> FakeFuture:
        return FakeFuture(order)

    async def gather(self, future: FakeFuture, *, asynchronous: bool) -> bytes:
        assert asynchronous, "nobody waits for it"
        if future.order == b"broken":
            raise OSError("the scheduler's own error")
        if future.order == b"lost":
            self.cut_off.append(asyncio.Event())
            await self.cut_off[-1].wait()
        return future.order

    def cancel(self, futures: list[FakeFuture], *, force: bool) -> None:
        assert force and futures

    def come_back(self) -> None:
        for event in self.cut_off:
            self.asyncio_loop.call_soon_threadsafe(event.set)

    def close(self, timeout: float = 0) -> None:
        self.asyncio_loop.call_soon_threadsafe(self.asyncio_loop.stop)
        self._thread.join()
        self.asyncio_loop.close()


@pytest.fixture
def client() -> Iterator[FakeClient]:
    found = FakeClient()
    yield found
    found.come_back()
    found.close()


def ended(pool: DaskPool, count: int) -> list[Ended]:
    found: list[Ended] = []
    while len(found) < count:
        found += pool.ended(60)
    return found


def test_an_answer_that_never_comes_holds_up_no_other(client: Any) -> None:
    """A worker is cut off when its piece has ended there, and its answer is not fetched yet."""
    pool = DaskPool(client, "here")
    pool.start("1", b"lost", "a")
    for ticket in ("2", "3"):
        pool.start(ticket, b"answer", "b")
    assert ended(pool, 2) == [Ended("2", b"answer"), Ended("3", b"answer")]
    assert pool.ended(0) == []
    pool.cancel(["1"])
    client.come_back()
    pool.start("4", b"more", "b")
    assert ended(pool, 1) == [Ended("4", b"more")], "what was cancelled is dropped"


def test_what_is_no_answer_has_a_reason(client: Any) -> None:
    pool = DaskPool(client, "here")
    for n, order in enumerate((b"odd", b"withdrawn", b"broken")):
        pool.start(str(n), order, "a")
    found = {one.ticket: (one.data, one.reason) for one in ended(pool, 3)}
    assert found == {
        "0": (None, "no answer (KeyError)"), "1": (None, "it was cancelled"), "2": (None, "no answer (OSError)"),
    }  # fmt: skip
