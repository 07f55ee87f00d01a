"""Records of a vault that are there and do not open: passed over, so that the rest can be used, and reported."""

from __future__ import annotations

import threading
from typing import NamedTuple

from catalog.errors import RpdriveError

_MOST = 1000  # kept; whoever can create objects can create any number


class Passed(NamedTuple):
    """A record that was passed over, by the name of its object.

    It is `lost` if nothing was used in its place: an earlier version, or an older point.
    """

    name: str
    error: RpdriveError
    lost: bool

    def __str__(self) -> str:
        error = str(self.error)
        return f"passed over: {error}" if self.name in error else f"{self.name} is passed over: {error}"

    def json(self) -> dict[str, str]:
        return {"object": self.name, "kind": self.error.kind, "message": str(self.error)}


class PassedOver:
    """The records of one vault that were passed over since it was opened. Thread-safe.

    A command reports each once: in its JSON, as the error it ends with, or in a warning when it ends.
    """

    def __init__(self) -> None:
        self._rows: dict[str, Passed] = {}
        self._reported: set[str] = set()
        self._lock = threading.Lock()

    def note(self, name: str, error: RpdriveError, *, lost: bool = True) -> None:
        """Add a record."""
        with self._lock:
            if name in self._rows or len(self._rows) < _MOST:
                self._rows[name] = Passed(name, error, lost)

    def lost(self, prefix: str = "") -> list[RpdriveError]:
        """The errors of lost records whose names begin with a prefix, by name."""
        with self._lock:
            return [row.error for name, row in sorted(self._rows.items()) if row.lost and name.startswith(prefix)]

    def rows(self, prefix: str) -> list[Passed]:
        """The records whose names begin with a prefix, by name; they count as not reported yet."""
        with self._lock:
            return [row for name, row in sorted(self._rows.items()) if name.startswith(prefix)]

    def json(self) -> list[dict[str, str]]:
        """The records that were not reported yet, for --json."""
        return [row.json() for row in self.report()]

    def report(self, *, but: RpdriveError | None = None) -> list[Passed]:
        """The records that were not reported yet, by name; without that of an error which is reported by itself."""
        with self._lock:
            rows = [row for name, row in sorted(self._rows.items()) if name not in self._reported]
            self._reported.update(row.name for row in rows)
        return [row for row in rows if row.error is not but]
