"""Counters of the work of a reader."""

from __future__ import annotations

import threading
from collections import Counter


class Counters:
    """Named sums. Exact, with any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: Counter[str] = Counter()

    def add(self, name: str, n: int = 1) -> None:
        with self._lock:
            self._sums[name] += n

    def __getitem__(self, name: str) -> int:
        return self._sums[name]
