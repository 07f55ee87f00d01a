"""The store of a copy of a vault, which only the program that copies writes to."""

from __future__ import annotations

from collections.abc import Callable

from catalog.errors import FollowingCopy
from catalog.store.base import Store
from catalog.store.wrapper import Request, StoreWrapper, T

_WRITES = frozenset(("create", "compose", "replace", "delete", "extend"))


class FollowingStore(StoreWrapper):
    """Refuses all that would change the store, unsent: it raises FollowingCopy. `of` is what the copy follows."""

    def __init__(self, inner: Store, of: str) -> None:
        super().__init__(inner)
        self._of = of

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if request.kind in _WRITES:
            raise following_copy(self.url, self._of)
        return call()

    def sweep(self, mark: str) -> None:
        """Nothing of this machine's is unfinished there."""

    def keep_room(self) -> None:
        """Nothing is written there."""


def following_copy(address: str, of: str) -> FollowingCopy:
    """The error for what would write to a copy that follows."""
    return FollowingCopy(
        f"{address} is a copy of {of}, and follows it",
        f"do this in that vault; if it is lost, `rpdrive vault promote {address}` makes the copy a vault",
    )
