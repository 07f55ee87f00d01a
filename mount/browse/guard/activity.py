"""How long nobody has used the page: requests count while they run, and jobs while they run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Activity:
    """Notes requests. Thread-safe. `clock` counts seconds that the machine is awake; `busy`: whether a job runs."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, busy: Callable[[], bool] = lambda: False
    ) -> None:
        self._clock, self.busy = clock, busy
        self._lock = threading.Lock()
        self._running = 0
        self._used = clock()

    @contextmanager
    def noted(self, counts: bool = True) -> Iterator[None]:
        """A request runs while this is entered. `counts` is False for those that keep nothing awake."""
        if not counts:
            yield
            return
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    def _change(self, by: int) -> None:
        with self._lock:
            self._running += by
            self._used = self._clock()

    def idle(self) -> float:
        """Seconds since something ran; 0 while something runs."""
        busy = self.busy()
        with self._lock:
            if busy or self._running:
                self._used = self._clock()
            return self._clock() - self._used
