"""Requests that have to wait: the threads that serve them, and the watch over their age.

A thread that serves a request should answer it in time, since no wait for the store is longer. The watch does not
trust that: it gives up every request that is not answered in time, whatever its thread is doing, and starts another
thread in place of one that is stuck. So a fault of ours costs an error, and nobody waits for it for ever.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple

from catalog import held
from mount.drivers.ages import Watch

THREADS = 6
_SHOWN = 20  # requests in the drive's status

_log = logging.getLogger("rpdrive.drive")

Handler = Callable[[int, int, memoryview], None]


class Request(NamedTuple):
    """A request whose answer takes a wait. `caller` is the thread that waits for it; `began` by held.clock."""

    handler: Handler
    unique: int
    node_id: int
    body: bytes
    op: int
    caller: int
    began: float


class Current(NamedTuple):
    """The request that the thread which reads from the kernel is answering just now."""

    unique: int
    node_id: int
    op: int


class Waiting:
    """Requests that were handed over to threads that may wait. Thread-safe.

    `serve` answers a request, in one of these threads. `give_up` is called once for each request that was not
    answered within `seconds`, with True if a thread was serving it, and must not wait for anything. `current`
    returns the request that is answered without being handed over; it is given up likewise, by `give_up_current`.
    """

    def __init__(
        self,
        serve: Callable[[Request], None],
        give_up: Callable[[Request, bool], None],
        *,
        seconds: float,
        current: Callable[[], Current | None] = lambda: None,
        give_up_current: Callable[[Current, int], None] = lambda _current, _times: None,
    ) -> None:
        self._serve = serve
        self._give_up = give_up
        self._seconds = seconds
        self._current = current
        self._give_up_current = give_up_current
        self._requests: dict[int, Request] = {}  # by unique: neither answered nor given up
        self._served: dict[int, threading.Thread] = {}  # by unique: the thread that is serving it, given up or not
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._idle = threading.Semaphore(0)
        self._surplus: set[threading.Thread] = set()  # stuck ones, each replaced: they end once they are free
        self._watch: Watch | None = None
        self._over = threading.Event()
        self._seen: dict[int, float] = {}  # by unique: the watch's clock when it saw the request first
        self._begun: tuple[Current | None, float, int] = (None, 0.0, 0)  # seen first when, given up how often

    def __len__(self) -> int:
        """The number of requests that wait."""
        return len(self._requests)

    def __contains__(self, unique: object) -> bool:
        """Whether a request still waits: it is neither answered nor given up."""
        return unique in self._requests

    def oldest(self) -> list[tuple[Request, float, int | None]]:
        """The requests that have waited for longest: each with its age (seconds), and the thread that serves it."""
        now = held.clock()
        requests = sorted(self._requests.copy().values(), key=lambda request: request.began)[:_SHOWN]
        return [(r, now - r.began, getattr(self._served.get(r.unique), "native_id", None)) for r in requests]

    def caller(self, unique: int) -> int | None:
        """The thread that waits for a request; None if it waits no more."""
        request = self._requests.get(unique)
        return request.caller if request is not None else None

    def take(self, unique: int) -> Request | None:
        """Take a request away, so that no thread begins to serve it. None if it waits no more."""
        return self._requests.pop(unique, None)

    def add(self, request: Request) -> bool:
        """Have a request served. False if one with the same number waits: the kernel never sends that."""
        if self._over.is_set():
            return True  # the drive ends, and no request is answered any more
        if self._requests.setdefault(request.unique, request) is not request:
            return False
        self._queue.put(request)
        if not self._idle.acquire(blocking=False):
            with self._lock:
                if len(self._threads) - len(self._surplus) < THREADS:
                    self._start_thread()
        if self._watch is None:
            self.watch()
        return True

    def watch(self) -> None:
        """Begin to watch the age of requests."""
        with self._lock:
            if self._watch is None and not self._over.is_set():
                self._watch = Watch(self._look, self._seconds)

    def close(self, *, finish: bool = False) -> None:
        """Serve no further request. `finish`: serve those that wait, and wait for that."""
        if not finish:
            self._requests.clear()
        with self._lock:
            threads = tuple(self._threads)
        for _thread in threads:
            self._queue.put(None)
        if finish:
            for thread in threads:
                thread.join()
        with self._lock:
            self._over.set()
            if self._watch is not None:
                self._watch.close()

    # --- the threads --------------------------------------------------------------------------------------

    def _start_thread(self) -> None:
        # Daemons: one that is stuck must not keep the process from ending.
        thread = threading.Thread(target=self._work, name="answer", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        me = threading.current_thread()
        while (request := self._queue.get()) is not None:
            unique = request.unique
            if unique in self._requests:
                self._served[unique] = me
                try:
                    self._serve(request)
                finally:
                    self._requests.pop(unique, None)
                    self._served.pop(unique, None)
            if me in self._surplus:
                break
            self._idle.release()
        with self._lock:
            self._threads.discard(me)
            self._surplus.discard(me)

    # --- the watch ----------------------------------------------------------------------------------------

    def _look(self, clock: float) -> None:
        requests = self._requests.copy()
        self._seen = {unique: self._seen.get(unique, clock) for unique in requests}
        for unique, request in requests.items():
            if clock - self._seen[unique] > self._seconds:
                self._end(request)
        current = self._current()
        known, since, times = self._begun
        if current is None or current is not known:
            self._begun = current, clock, 0
        elif clock - since > (times + 1) * self._seconds:
            self._begun = current, since, times + 1
            self._give_up_current(current, times + 1)

    def _end(self, request: Request) -> None:
        if self.take(request.unique) is None:
            return
        stuck = self._served.get(request.unique)
        if stuck is not None:
            with self._lock:
                if stuck in self._threads and stuck not in self._surplus:
                    self._surplus.add(stuck)
                    self._start_thread()
        self._give_up(request, stuck is not None)
