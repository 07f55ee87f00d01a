"""Deletes objects, and bears that the store refuses to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from catalog.errors import AccessDenied, ObjectImmutable, ShortRead, StoreUnreachable
from catalog.format.blocks import PackKind
from catalog.format.packs import pack_name
from catalog.prune.plan import Object
from catalog.screen.phases import Follower, Phase
from catalog.store.base import Store
from catalog.store.deadline import Deadline, steady

PAUSES = (1.0, 4.0, 15.0)  # seconds before a deletion is tried again that had no answer
_PARALLEL = 8
_FEW = 16  # are deleted one by one


class _One(NamedTuple):
    name: str
    size: int


class Deleter:
    """Deletes through `store`, which must not repeat requests by itself: none may begin after `until`.

    What the store refuses (because it is immutable) is counted, and tried again by the next run. `stop` (seconds,
    `steady`) is when to stop; None: never.
    """

    def __init__(
        self,
        store: Store,
        follow: Follower,
        stop: float | None = None,
        pause: Callable[[float], None] | None = None,
    ) -> None:
        self._store, self._follow, self._stop = store, follow, stop
        self._pause = pause or _wait
        self.until: Deadline | None = None
        self.deleted = self.freed = self.refused = 0
        self.stopped = False
        self.problems: list[str] = []

    def objects(self, objects: Sequence[Object]) -> None:
        """Delete packs and carriers."""
        self._all([_One(pack_name(PackKind(obj.key.kind), obj.key.id), obj.size) for obj in objects])

    def names(self, names: Iterable[str]) -> None:
        """Delete objects by their names."""
        self._all([_One(name, 0) for name in names])

    def sized(self, objects: Iterable[tuple[str, int]]) -> list[bool]:
        """Delete objects by their names and sizes (bytes). Which of them went."""
        return self._all([_One(*one) for one in objects])

    def _all(self, todo: list[_One]) -> list[bool]:
        went: list[bool] = []

        def one(what: _One) -> bool | None:
            return self._one(what.name)

        pool = ThreadPoolExecutor(_PARALLEL, "delete") if len(todo) > _FEW else None
        try:
            for n, (what, done) in enumerate(
                zip(todo, pool.map(one, todo) if pool else map(one, todo), strict=True)
            ):
                went.append(bool(done))
                if done:
                    self.deleted, self.freed = self.deleted + 1, self.freed + what.size
                elif done is False:
                    self.refused += 1
                self._follow.phase(Phase("deleting", n + 1, len(todo), "objects"))
        finally:
            if pool is not None:
                pool.shutdown(cancel_futures=True)
        return went

    def _one(self, name: str) -> bool | None:
        """Whether an object was deleted; None if there was no time. Raises StoreError."""
        for pause in (*PAUSES, None):
            if (self.until is not None and self.until.passed()) or (
                self._stop is not None and steady() > self._stop
            ):
                self.stopped = True
                return None
            try:
                self._store.delete(name)
                return True
            except (AccessDenied, ObjectImmutable) as e:
                if not self.problems:
                    self.problems.append(f"the store did not let {name} go; it is tried again by the next run: {e}")
                return False
            except (StoreUnreachable, ShortRead):
                if pause is None:
                    raise
                self._pause(pause)
        raise AssertionError


def _wait(seconds: float) -> None:
    time.sleep(seconds)
