"""The gate of a vault's traffic: asks which limit counts now, for each piece, and holds bytes back."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, Protocol

from catalog import held
from catalog.errors import Paused, StoreError
from catalog.store.throttled import Way, Withheld
from catalog.throttle.bucket import Bucket
from catalog.throttle.rates import Limits

LOOK = 1.0  # seconds between two looks at the limits while bytes are held back
SILENCE = 20.0  # seconds for which a request under way may stop; servers end a connection that is silent longer


class Source(Protocol):
    """The limits that count, by the wall clock."""

    def now(self) -> Limits: ...

    def of_item(self, name: str) -> None:
        """From now on, the limits of an item count, if it has some of its own."""

    def pause_text(self) -> str:
        """A phrase for users: why nothing goes now, and until when."""


class Passed(NamedTuple):
    """What went through a gate: bytes up and down, and seconds for which threads were held back, summed up."""

    up: int
    down: int
    held: float


class Throttle:
    """Lets traffic through at the rates of `source`, for all threads of this process together.

    `patient`: wait while nothing may go; else Paused is raised at once, for those who have a person waiting.
    `tell` gets one line when a pause begins. `clock` returns seconds; `pause` waits for so many at most.
    """

    def __init__(
        self,
        source: Source,
        *,
        patient: bool = True,
        tell: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._source, self._patient, self._tell = source, patient, tell
        self._closed = threading.Event()
        self._clock = clock
        self._pause: Callable[[float], object] = pause or self._closed.wait
        self._lock = threading.Lock()
        self._buckets: dict[Way, Bucket] = {"up": Bucket(), "down": Bucket()}
        self._passed: dict[Way, int] = {"up": 0, "down": 0}
        self._held = 0.0
        self._told = False  # of this pause
        self._is_open = False

    def passed(self) -> Passed:
        """The counts up to now."""
        with self._lock:
            return Passed(self._passed["up"], self._passed["down"], self._held)

    def of_item(self, name: str) -> None:
        self._source.of_item(name)

    @contextmanager
    def open(self) -> Iterator[None]:
        """A context in which nothing is held back: for what says which limits count."""
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False

    def __str__(self) -> str:
        up, down, seconds = self.passed()
        return f"{up} bytes to the vault, {down} from it; threads were held back for {seconds:.1f} s in all"

    def close(self) -> None:
        """Hold nothing back any more: who waits gets StoreError."""
        self._closed.set()

    def admit(self, way: Way) -> None:
        """Wait until requests may begin. Raises Paused unless `patient`, StoreError once the gate is closed."""
        if self._rate(way) == 0:
            self._wait(way, None, math.inf)

    def limits(self, way: Way) -> bool:
        """Whether there is a limit now."""
        return not math.isinf(self._rate(way))

    def take(self, way: Way, length: int) -> None:
        """Wait until `length` bytes may go, and count them. Raises Withheld, or as `admit`."""
        rate = self._rate(way)
        if math.isinf(rate):
            self._count(way, length)
            return
        ticket = self._buckets[way].ticket(self._clock(), rate, length)
        if self._buckets[way].wait(self._clock(), rate, ticket):
            self._wait(way, ticket, SILENCE)
        self._count(way, length)

    def note(self, way: Way, length: int) -> None:
        """Count bytes that have gone already: the following ones wait the longer."""
        if not length:
            return
        rate = self._rate(way)
        if not math.isinf(rate):
            self._buckets[way].ticket(self._clock(), rate, length)
        self._count(way, length)

    def _wait(self, way: Way, ticket: float | None, silence: float) -> None:
        """Wait for a ticket, or until anything may go. `silence`: at most so long (s) while nothing may."""
        began = self._clock()
        paused_since: float | None = None
        with held.holding(), ExitStack() as stack:
            stack.callback(lambda: self._add_held(self._clock() - began))
            while True:
                now, rate = self._clock(), self._rate(way)
                seconds = self._seconds(way, ticket, now, rate)
                if seconds <= 0:
                    self._told = self._told and rate == 0
                    return
                if self._closed.is_set():
                    raise StoreError("the transfer was ended while a limit held it back")
                if rate == 0:
                    paused_since = now if paused_since is None else paused_since
                    self._say_paused()
                    if now - paused_since >= silence:
                        raise Withheld(f"{self._source.pause_text()}")
                else:
                    paused_since = None
                self._pause(min(seconds, LOOK))

    def _seconds(self, way: Way, ticket: float | None, now: float, rate: float) -> float:
        if ticket is None:
            return math.inf if rate == 0 else 0.0
        return self._buckets[way].wait(now, rate, ticket)

    def _say_paused(self) -> None:
        text = self._source.pause_text()
        if not self._patient:
            raise Paused(text)
        with self._lock:
            told, self._told = self._told, True
        if not told:
            self._tell(text)

    def _rate(self, way: Way) -> float:
        if self._is_open:
            return math.inf
        limits = self._source.now()
        rate = limits.up if way == "up" else limits.down
        return math.inf if rate is None else float(rate)

    def _count(self, way: Way, length: int) -> None:
        with self._lock:
            self._passed[way] += length

    def _add_held(self, seconds: float) -> None:
        with self._lock:
            self._held += seconds
