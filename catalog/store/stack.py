"""The wrappers around a store, put together in one place."""

from __future__ import annotations

from collections.abc import Callable

from catalog.store.base import Store
from catalog.store.metered import MeteredStore
from catalog.store.retrying import RetryingStore
from catalog.store.roles import Grant, RoleStore
from catalog.store.throttled import Gate, ThrottledStore


class StoreStack:
    """A store in its wrappers, from the inside out: meter, gate (if there is one), retries, role.

    In this order the meter counts each retry, each attempt waits at the gate, and a request outside the role is
    never sent. `patience` is how long a request is repeated, in seconds (0: never); `waiting` is passed to
    RetryingStore, `renewed` to RoleStore.
    """

    def __init__(
        self,
        store: Store,
        patience: float = 0.0,
        grant: Grant | None = None,
        renewed: Callable[[], Grant | None] = lambda: None,
        waiting: Callable[[], None] = lambda: None,
        gate: Gate | None = None,
    ) -> None:
        self.meter = MeteredStore(store)
        self._gated: Store = self.meter if gate is None else ThrottledStore(self.meter, gate)
        self._patience = patience
        self._grant = grant
        self._renewed = renewed
        self._waiting = waiting
        self._fronts: dict[float, Store] = {}

    def front(self, patience: float | None = None) -> Store:
        """The outermost store, one for each `patience`. All of them share the meter and the store behind it."""
        seconds = self._patience if patience is None else patience
        if seconds not in self._fronts:
            front = self._gated
            if seconds > 0:
                front = RetryingStore(front, seconds, waiting=self._waiting)
            if self._grant is not None:
                front = RoleStore(front, self._grant, self._renewed)
            self._fronts[seconds] = front
        return self._fronts[seconds]

    def close(self) -> None:
        """Close the store and end the pauses between retries."""
        for front in self._fronts.values():
            front.close()
