"""A store whose traffic a gate lets through, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Protocol, TypeAlias

from catalog.errors import StoreError
from catalog.store.base import LIST_PAGE, Store
from catalog.store.flow import LARGE, PIECE, put_flow
from catalog.store.wrapper import Request, StoreWrapper, T, carried_by

Way: TypeAlias = Literal["up", "down"]
_WAYS: dict[str, Way] = {
    "create": "up", "compose": "up", "replace": "up", "get": "down", "read": "down", "list": "down",
}  # fmt: skip


class Withheld(StoreError):
    """A request under way was ended, because nothing may go for a while. Never seen outside this wrapper."""


class Gate(Protocol):
    """Decides when bytes may go. Safe to call from any number of threads at once."""

    def admit(self, way: Way) -> None:
        """Wait until requests may begin. Raises StoreError if the caller should not wait."""

    def limits(self, way: Way) -> bool:
        """Whether there is a limit now."""

    def take(self, way: Way, length: int) -> None:
        """Wait until `length` bytes may go. Raises Withheld if that takes longer than a request can bear."""

    def note(self, way: Way, length: int) -> None:
        """Count bytes that have gone already: the following ones wait the longer."""

    def of_item(self, name: str) -> None:
        """From now on, the traffic is that of an item: limits may depend on it."""

    def close(self) -> None:
        """Hold nothing back any more: who waits gets StoreError."""


class ThrottledStore(StoreWrapper):
    """Lets object contents through as the gate allows; requests without contents pass freely.

    A request that the gate withholds is ended, and sent again once it may be: a deadline (`until`) is then looked
    at again by the store, and a connection never stays silent for longer than a server bears.
    """

    def __init__(self, inner: Store, gate: Gate) -> None:
        super().__init__(inner)
        self._gate = gate

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        way = _WAYS.get(request.kind)
        if way is None:
            return call()
        while True:
            self._gate.admit(way)
            limited = self._gate.limits(way)
            if way == "down" and not limited:
                # Small, and quick without a limit: one that begins meanwhile counts from the next read on.
                result = call()
                self._gate.note(way, carried_by(request, result))
                return result
            flow = _Metered(self._gate, PIECE if limited else LARGE)
            before = put_flow(flow)
            try:
                result = call()
            except Withheld:
                continue
            finally:
                put_flow(before)
            # What a store has not asked for in pieces; a retried request has more pieces than bytes.
            self._gate.note(way, max(0, carried_by(request, result) - flow.passed[way]))
            return result

    def _paged(self, prefix: str, names: Iterator[T]) -> Iterator[T]:
        flow = _Noted(self._gate)
        count = 0
        while True:
            if count % LIST_PAGE == 0:
                self._gate.admit("down")
            before = put_flow(flow)
            try:
                name = next(names, None)
            finally:
                put_flow(before)
            if name is None:
                return
            count += 1
            yield name

    def stop_waiting(self) -> None:
        self._gate.close()
        super().stop_waiting()

    def close(self) -> None:
        self._gate.close()
        super().close()


class _Metered:
    """Asks the gate for each piece, and counts."""

    def __init__(self, gate: Gate, piece: int) -> None:
        self._gate, self.piece = gate, piece
        self.passed: dict[Way, int] = {"up": 0, "down": 0}

    def sending(self, length: int) -> None:
        self._gate.take("up", length)
        self.passed["up"] += length

    def receiving(self, length: int) -> None:
        self._gate.take("down", length)
        self.passed["down"] += length

    def passing_by(self, length: int) -> None:
        self.passed["up"] += length


class _Noted:
    """Notes each piece without waiting: a listing that broke off would begin again."""

    def __init__(self, gate: Gate) -> None:
        self._gate, self.piece = gate, LARGE

    def sending(self, length: int) -> None:
        self._gate.note("up", length)

    def receiving(self, length: int) -> None:
        self._gate.note("down", length)

    def passing_by(self, length: int) -> None:
        pass
