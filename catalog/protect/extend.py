"""Lengthens the locks of objects that are in use, so that they never end while somebody needs them.

What is no longer in use is left alone: its lock ends, and upkeep can delete it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from catalog.errors import NotSupported, ObjectNotFound, StoreError, StoreUnreachable
from catalog.store.base import Store

DAY = 24 * 3600 * 10**9
_ENOUGH = 3  # objects that fail, if not one is locked: the next ones would fail in the same way


class Extended(NamedTuple):
    """What was done: objects looked at, locks lengthened, and those that still last; and those that failed.

    `error` is the first one of these; None if all went well. Requests: one for each 5,000 objects looked at in each
    folder, and one for each lock lengthened or failed.
    """

    looked: int = 0
    extended: int = 0
    lasting: int = 0
    failed: int = 0
    error: StoreError | None = None


def extend_locks(
    store: Store,
    prefixes: Iterable[str],
    in_use: Callable[[str], bool],
    *,
    days: int,
    now: int,
    fixed: bool,
    progress: Callable[[Extended], None] = lambda done: None,
) -> Extended:
    """Lock each object in use for `days` from `now` (ns, the store's time) if its lock ends within half of that.

    `prefixes` are folders, `in_use` is asked with full names of objects. A lock that is fixed stays fixed; others
    become so if `fixed`. An object that fails costs that object; after three, with none that could be locked, the
    others are left. Raises NotSupported if the store has no locks (if the first object says so), and
    StoreUnreachable.
    """
    done = Extended()
    until, soon = now + days * DAY, now + days * DAY // 2
    for prefix in prefixes:
        for lock in store.locks(prefix):
            if not in_use(lock.name):
                continue
            done = done._replace(looked=done.looked + 1)
            if lock.until is not None and lock.until >= soon and (lock.fixed or not fixed):
                done = done._replace(lasting=done.lasting + 1)
                continue
            try:
                store.extend(lock.name, max(until, lock.until or 0), fixed=fixed or lock.fixed)
                done = done._replace(extended=done.extended + 1)
            except ObjectNotFound:
                pass  # it went after the listing
            except StoreUnreachable:
                raise
            except StoreError as e:
                if isinstance(e, NotSupported) and not done.extended:
                    raise
                done = done._replace(failed=done.failed + 1, error=done.error or e)
                if done.failed == _ENOUGH and not done.extended:
                    return done
            progress(done)
    return done
