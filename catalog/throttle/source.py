"""Where limits come from: the options of a command, or this machine's copy of the plan."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import NamedTuple

from catalog.errors import LocalError
from catalog.format.plan import Limit
from catalog.plans.local import LocalPlans
from catalog.throttle.rates import Limits, changes_at, rate

FRESH = 15.0  # seconds between two looks at the copy of the plan


class FixedLimits:
    """The limits that a user gave: they count in place of the plan's."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def now(self) -> Limits:
        return self._limits

    def of_item(self, name: str) -> None:
        pass

    def pause_text(self) -> str:
        return "the limit that was given lets nothing through"


class _Windows(NamedTuple):
    windows: tuple[Limit, ...]
    zone: tzinfo


NONE, _UNLIMITED = _Windows((), UTC), Limits()


class PlannedLimits:
    """The windows of the plan for a vault, by this machine's copy; it is looked at again each FRESH seconds.

    The plan of the item `item` (by its name) counts, or the machine's own if it is not in the copy. A copy that is
    missing has no limits; one that can't be read any more keeps those it had. `wall` is in ns since the epoch.
    """

    def __init__(
        self,
        state: Path,
        vault_id: bytes,
        item: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        self._plans, self._vault, self._item = LocalPlans(state), vault_id, item
        self._clock, self._wall = clock, wall
        self._lock = threading.Lock()
        self._due = clock() + FRESH
        self._found = self._load(NONE)

    def now(self) -> Limits:
        found = self._windows()
        return rate(found.windows, self._moment(found.zone)) if found.windows else _UNLIMITED

    def of_item(self, name: str) -> None:
        with self._lock:
            self._item = name
            self._found = self._load(self._found)

    def pause_text(self) -> str:
        found = self._windows()
        until = changes_at(found.windows, self._moment(found.zone))
        when = "" if until is None else f" until {until:%A %H:%M}"
        return f"the plan lets nothing go to or from the vault{when}"

    def _moment(self, zone: tzinfo) -> datetime:
        return datetime.fromtimestamp(self._wall() // 10**9, zone)

    def _windows(self) -> _Windows:
        now = self._clock()
        if now >= self._due:
            with self._lock:
                if now >= self._due:
                    self._due = now + FRESH
                    self._found = self._load(self._found)
        return self._found

    def _load(self, before: _Windows) -> _Windows:
        try:
            vault = self._plans.of(self._vault)
        except LocalError:
            return before
        if vault is None:
            return NONE
        plan = next((item.plan for item in vault.items if item.name == self._item), vault.plan)
        return _Windows(plan.throttle, plan.tz)
