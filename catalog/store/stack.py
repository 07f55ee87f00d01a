"""A store with its wrappers: the one place that puts them together."""

from __future__ import annotations

from collections.abc import Callable

from catalog.store.base import Store
from catalog.store.metered import MeteredStore
from catalog.store.retrying import RetryingStore
from catalog.store.roles import Grant, RoleStore


class StoreStack:
    """A store behind its wrappers: around it the meter, then retries, outermost the role.

    So each retry is counted, and a request outside the role is refused without one. `patience` is how long (in
    seconds) a request is repeated, 0 for never; `renewed` is that of RoleStore.
    """

    def __init__(
        self,
        store: Store,
        patience: float = 0.0,
        grant: Grant | None = None,
        renewed: Callable[[], Grant | None] = lambda: None,
    ) -> None:
        self.meter = MeteredStore(store)
        self._patience = patience
        self._grant = grant
        self._renewed = renewed
        self._fronts: dict[float, Store] = {}

    def front(self, patience: float | None = None) -> Store:
        """The store to use, one for each `patience`; all of them share the meter and what is behind it."""
        seconds = self._patience if patience is None else patience
        if seconds not in self._fronts:
            front: Store = self.meter
            if seconds > 0:
                front = RetryingStore(front, seconds)
            if self._grant is not None:
                front = RoleStore(front, self._grant, self._renewed)
            self._fronts[seconds] = front
        return self._fronts[seconds]

    def close(self) -> None:
        """Release the store, and end the pauses of its retries."""
        for front in self._fronts.values():
            front.close()
