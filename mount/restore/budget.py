"""A limit on what is in memory at once."""

from __future__ import annotations

import threading


class Budget:
    """Limits what is held, in any unit. A request above the limit is granted once nothing else is held."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._changed = threading.Condition()

    def acquire(self, amount: int) -> None:
        """Wait until the amount may be held."""
        with self._changed:
            while not self._fits(amount):
                self._changed.wait()
            self._held += amount

    def try_acquire(self, amount: int) -> bool:
        """Hold the amount if that is possible at once."""
        with self._changed:
            fits = self._fits(amount)
            self._held += amount if fits else 0
            return fits

    def release(self, amount: int) -> None:
        with self._changed:
            self._held -= amount
            self._changed.notify_all()

    def wait_idle(self) -> None:
        """Wait until nothing is held."""
        with self._changed:
            while self._held:
                self._changed.wait()

    def _fits(self, amount: int) -> bool:
        return not self._held or self._held + amount <= self._limit
