"""A store that is further away than it really is."""

from __future__ import annotations

import time
from collections.abc import Callable

from catalog.store.base import Store
from catalog.store.wrapper import Request, StoreWrapper, T


class DelayedStore(StoreWrapper):
    """Waits `seconds` before each request, in the caller's thread, as the round trip to a far store would."""

    def __init__(self, inner: Store, seconds: float) -> None:
        super().__init__(inner)
        self.seconds = seconds

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        time.sleep(self.seconds)
        return call()
