"""The time for jobs that only read: some stores tell theirs only to those who may write."""

from __future__ import annotations

import time

from catalog.errors import AccessDenied, StoreFull
from catalog.store.base import Store


def time_to_read(store: Store) -> int:
    """The store's time (ns since the epoch, UTC); this machine's, where the store's takes a write that fails.

    A folder tells its time by a temporary file, which a read-only or full disk does not take. Only for what is
    reported: whatever is hidden, deleted or dated in the vault goes by `store.now()`. Raises another StoreError.
    """
    try:
        return store.now()
    except (AccessDenied, StoreFull):
        return time.time_ns()
