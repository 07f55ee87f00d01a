"""Answers requests that have to wait for the store, without blocking WinFsp's dispatcher for the others.

A thread of the dispatcher first tries to answer from memory. A request that has to wait is repeated from the start
in a thread of ours. Reads and listings are answered later (STATUS_PENDING) and hold no thread of WinFsp; for other
requests its thread waits, for a shorter time if many threads already do. A request that takes too long is answered
with STATUS_IO_TIMEOUT: WinFsp's driver would give it up later, and free its buffer while we still write to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from cache.reader import Reader, WouldWait
from mount.drivers.winfsp import ntstatus
from mount.drivers.winfsp.ntstatus import NtRefusal

THREADS = 32  # for reads and listings, and as many for lookups
CROWDED_SECONDS = 5.0  # time limit of lookups while most threads of the dispatcher wait
_TICK = 0.25  # seconds
T = TypeVar("T")


class TookTooLong(TimeoutError):
    """The store did not answer in time."""


class Pending:
    """A request that is answered later, once: by the thread with the answer, or at its time limit."""

    def __init__(self, seconds: float, give_up: Callable[[], None]) -> None:
        self.until = time.monotonic() + seconds
        self.give_up = give_up
        self._unclaimed = threading.Lock()

    def claim(self) -> bool:
        """Whether the caller must answer the request, whose buffer is valid until then."""
        return self._unclaimed.acquire(blocking=False)


class Waiting:
    """Requests under way. `seconds` is the time limit of each."""

    def __init__(self, reader: Reader, seconds: float, *, crowd: int) -> None:
        """`crowd`: dispatcher threads that may wait for `seconds`; further ones wait for CROWDED_SECONDS."""
        self.seconds = seconds
        self._crowd = crowd
        self._waiting = 0
        self._gives_up = False
        self.handed_over = 0  # requests that had to wait
        self._reader = reader
        self._readers = ThreadPoolExecutor(THREADS, "read")
        self._lookers = ThreadPoolExecutor(THREADS, "look")
        self._changed = threading.Condition()
        self._under_way = 0
        self._later: set[Pending] = set()
        self._draining = False
        self._watcher: threading.Thread | None = None

    # --- beginning and ending -----------------------------------------------------------------------------

    def begin(self) -> None:
        """Note that a request begins. Raises NtRefusal if the drive is closing."""
        with self._changed:
            if self._draining:
                raise NtRefusal(ntstatus.DEVICE_NOT_READY)
            self._under_way += 1

    def end(self) -> None:
        """Note that a request is answered."""
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    @property
    def under_way(self) -> int:
        return self._under_way

    @property
    def waiting(self) -> int:
        """The number of dispatcher threads that wait."""
        return self._waiting

    @property
    def draining(self) -> bool:
        return self._draining

    def drain(self, seconds: float) -> bool:
        """Refuse new requests, and wait for those under way. False if some took longer and were given up."""
        end = time.monotonic() + seconds
        with self._changed:
            self._draining = True
            while self._under_way and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)
            clean = not self._under_way
            self._gives_up = True
        # From here on the pools take no work: requests are answered by the threads that bring them.
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._lookers.shutdown(wait=False, cancel_futures=True)
        while rest := self._unanswered():
            for later in rest:
                self._expire(later)
            with self._changed:
                # Answers under way have to finish first: the volume's memory is freed next.
                if self._later:
                    self._changed.wait(_TICK)
        return clean

    def _unanswered(self) -> list[Pending]:
        with self._changed:
            return list(self._later)

    # --- asking -------------------------------------------------------------------------------------------

    def at_once(self, work: Callable[[], T]) -> T:
        """Do `work` from memory. Raises WouldWait if that is not possible."""
        with self._reader.without_waiting():
            return work()

    def patiently(self, work: Callable[[], T]) -> T:
        """Do `work`, waiting in this thread of the dispatcher if necessary. Raises TookTooLong."""
        try:
            return self.at_once(work)
        except WouldWait:
            self.handed_over += 1
        with self._changed:
            self._waiting += 1
            # The last threads of the dispatcher are kept for requests that need not wait.
            seconds = self.seconds if self._waiting <= self._crowd else min(self.seconds, CROWDED_SECONDS)
        try:
            try:
                future = self._lookers.submit(work)
            except RuntimeError:
                raise TookTooLong("the drive is being closed") from None
            return self._result(future, seconds)
        finally:
            with self._changed:
                self._waiting -= 1

    def _result(self, future: Future[T], seconds: float) -> T:
        end = time.monotonic() + seconds
        while not self._gives_up:
            done, _not_done = wait([future], min(_TICK, max(end - time.monotonic(), 0.0)))
            if done and not future.cancelled():
                return future.result()
            if done or time.monotonic() >= end:
                break
        future.cancel()
        raise TookTooLong(f"no answer within {seconds:g} s")

    def later(self, work: Callable[[], T], answer: Callable[[T | BaseException], None]) -> None:
        """Do `work` in a thread of ours. `answer` is called once, with the result, the error, or TookTooLong."""
        self.handed_over += 1

        def give_up() -> None:
            answer(TookTooLong(f"no answer within {self.seconds:g} s"))

        later = Pending(self.seconds, give_up)
        with self._changed:
            self._later.add(later)
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                self._watcher.start()

        def run() -> None:
            found: T | BaseException
            try:
                found = work()
            except BaseException as e:  # noqa: BLE001 - every request needs an answer
                found = e
            if later.claim():
                self._finish(later, lambda: answer(found))

        try:
            self._readers.submit(run)
        except RuntimeError:  # closed
            self._expire(later)

    def _expire(self, later: Pending) -> None:
        if later.claim():
            self._finish(later, later.give_up)

    def _finish(self, later: Pending, answer: Callable[[], None]) -> None:
        try:
            answer()
        finally:
            with self._changed:
                self._later.discard(later)
                self._changed.notify_all()

    def _watch(self) -> None:
        while True:
            time.sleep(_TICK)
            with self._changed:
                if self._draining and not self._later:
                    return
                now = time.monotonic()
                late = [later for later in self._later if later.until <= now]
            for later in late:
                self._expire(later)
