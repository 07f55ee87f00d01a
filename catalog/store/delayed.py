"""A store with added latency, for tests and benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable

from catalog.store.base import Store
from catalog.store.wrapper import Request, StoreWrapper, T


class DelayedStore(StoreWrapper):
    """Waits `seconds` before each request, in the caller's thread, like the round trip to a distant store."""

    def __init__(self, inner: Store, seconds: float) -> None:
        super().__init__(inner)
        self.seconds = seconds
        self.is_near = False

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        time.sleep(self.seconds)
        return call()
