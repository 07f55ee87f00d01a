"""Knows whether the point of a drive was forgotten meanwhile, and until when its data stays."""

from __future__ import annotations

import threading
import time

from catalog.errors import RpdriveError
from catalog.format.records import PointName
from catalog.ledger.records import Ledger, Ledgers
from catalog.vault import Vault

EVERY = 600.0  # seconds between two looks, at least


class Fate:
    """What the ledger says of a point. Thread-safe.

    A look takes 1 listing, and 1 request if there is a new ledger; it is made when somebody asks, in the
    background, and not more often than every ten minutes.
    """

    def __init__(self, vault: Vault, name: PointName, ledger: Ledger, every: float = EVERY) -> None:
        """`ledger` is that of the point's item, as the drive was opened."""
        self._vault, self._name, self._ledger, self._every = vault, name, ledger, every
        self._ledgers: Ledgers | None = None
        self._looked = time.monotonic()
        self._lock = threading.Lock()

    def until(self) -> int | None:
        """Until when the point stays (ns, UTC), as was known last; None: it was not forgotten. 0: it is gone."""
        with self._lock:
            if time.monotonic() - self._looked >= self._every:
                self._looked = time.monotonic()
                threading.Thread(target=self._look, name="fate", daemon=True).start()
        if self._ledger.is_gone(self._name):
            return 0
        row = self._ledger.forgotten.get(self._name.id)
        return None if row is None else row.until

    def _look(self) -> None:
        try:
            if self._ledgers is None:
                self._ledgers = Ledgers(self._vault, self._name.machine, self._name.item)
            else:
                self._ledgers.refresh()
            self._ledger = self._ledgers.of(self._name.machine, self._name.item)
        except RpdriveError:
            pass  # later again
