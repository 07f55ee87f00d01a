"""Reads objects back from a store and compares them with their hashes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from catalog.errors import Damaged, ObjectNotFound
from catalog.screen.phases import Follower, Phase
from catalog.store.base import Store, pieces
from catalog.transfer.outcome import Wanted

PARALLEL = 4  # objects at a time; each takes up to 40 MiB of memory


def differing(store: Store, wanted: Iterable[Wanted], follow: Follower) -> Iterator[Wanted]:
    """Those of the objects that the store does not give back as they were written. Raises StoreError."""
    done = 0
    with ThreadPoolExecutor(PARALLEL, "verify") as pool:
        going: deque[tuple[Wanted, Future[bool]]] = deque()
        try:
            for one in wanted:
                going.append((one, pool.submit(_is_same, store, one)))
                while len(going) >= 2 * PARALLEL:
                    first, same = going.popleft()
                    if not same.result():
                        yield first
                    done += first.size
                    follow.phase(Phase("reading back", done))
            for first, same in going:
                if not same.result():
                    yield first
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _is_same(store: Store, wanted: Wanted) -> bool:
    try:
        for _piece in pieces(store, wanted.name, wanted.size, wanted.hash):
            pass
    except (Damaged, ObjectNotFound):
        return False
    return True
