"""Index objects are fetched a few at a time, each once: a machine that was taken over may have ten thousand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from backup.mirroring import _fetched
from catalog.store.base import Store
from catalog.store.wrapper import Request, StoreWrapper, T
from tests.kit.made.fleet import Fleet

COUNT = 1000


class Together(StoreWrapper):
    """Knows how many requests were on their way at once."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.current = self.most = self.gets = 0
        self._lock = threading.Lock()

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        with self._lock:
            self.current += 1
            self.gets += request.kind == "get"
            self.most = max(self.most, self.current)
        time.sleep(0.0002)
        try:
            return call()
        finally:
            with self._lock:
                self.current -= 1


def test_index_objects_are_fetched_eight_at_a_time_and_no_more_are_held() -> None:
    fleet = Fleet(1, COUNT, folders=1)
    vault = fleet.opened()
    store = vault.store = Together(fleet.store)
    names = [info.name for info in fleet.store.list("index/")]
    ahead = 0

    def asked() -> object:
        nonlocal ahead
        for name in names:
            ahead += 1
            yield name

    for n, (name, result) in enumerate(_fetched(vault, asked())):  # type: ignore[arg-type]
        assert name == names[n] and len(result.result().packs) == 1
        assert ahead - n <= 8
    assert (store.gets, ahead) == (COUNT, COUNT) and 1 < store.most <= 8
