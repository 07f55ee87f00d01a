"""A plan: what the vault, the machine and the item say together. Field by field, the nearest one counts.

Two fields join instead: who is paused or stopped at a wider level is so at each level below it. No I/O here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from catalog.format.plan import FIELDS, Care, Limit, Pause, PlanRecord, Raw, ReadPlan, Schedule, Stop, Window

SPREAD, AT_MOST = 15, 3  # minutes, days
OFF = Care(every=0)
SYSTEM_STATE = "system state"  # ItemKind.SYSTEM, whose module takes long to load
SNAPSHOTS = ("auto", "always", "never")


class Level(NamedTuple):
    """The newest record of the vault, a machine or an item.

    `what` is `vault`, `machine` or `item`, `name` that of the machine or item. `number` is that of the record that
    counts, 0 if there is none; `highest` that of the newest one, which may be malformed. `raw` is its content.
    """

    what: str
    name: str
    id: bytes
    number: int = 0
    record: PlanRecord | None = None
    raw: Raw = MappingProxyType({})
    highest: int = 0

    def __str__(self) -> str:
        return f"the {self.what}" + (f" {self.name}" if self.name else "")

    @property
    def read(self) -> ReadPlan | None:
        """The record as it was read; None if there is none."""
        return None if self.record is None else ReadPlan(self.record, self.raw)


class Conditions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a scheduled job waits for, but no longer than `at_most` days. `load` is per cent of all processors;
    0: off. Without `windows`, any time will do."""

    ac_power: bool = False
    unmetered: bool = False
    load: int = 0
    windows: tuple[Window, ...] = ()
    at_most: int = AT_MOST


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is backed up, when, and what else runs by itself.

    `what` is an ItemKind, or a word of a later version, and so is `snapshot`: auto, always or never; empty: as this
    machine's settings say. `zone` is the IANA name; None: no level says one. `spread` and `grace` are minutes; a
    grace of None is max(2 h, half a period). Without a `schedule` nothing is due by itself. `origins` says by the
    names of fields which level each value comes from, e.g. "machine srv01"; other fields have their defaults.
    """

    zone: str | None = None
    paths: tuple[bytes, ...] = ()
    exclude: tuple[str, ...] = ()
    ignore_files: str = ""
    exclude_caches: bool = False
    ignore_case: bool | None = None
    one_file_system: bool = False
    cloud_files: bool = False
    what: str = ""
    snapshot: str = ""
    schedule: Schedule | None = None
    catch_up: bool = True
    spread: int = SPREAD
    grace: int | None = None
    conditions: Conditions = Conditions()
    throttle: tuple[Limit, ...] = ()
    prune: Care = OFF
    check_1: Care = OFF
    check_2: Care = OFF
    check_3: Care = OFF
    restore_test: Care = OFF
    paused: Pause | None = None
    stopped: Stop | None = None
    origins: dict[str, str] = {}

    @property
    def saves(self) -> bool:
        """Whether the plan says what to save."""
        return bool(self.paths) or self.what == SYSTEM_STATE

    @property
    def tz(self) -> tzinfo:
        """The time zone; UTC if this machine doesn't know the plan's, or none is named."""
        return _zone(self.zone) or UTC

    @property
    def zone_is_known(self) -> bool:
        """Whether this machine has data for the plan's time zone."""
        return self.zone is None or _zone(self.zone) is not None

    def paused_at(self, now: int) -> Pause | None:
        """The pause in force at a time (ns); None if there is none."""
        pause = self.paused
        return None if pause is None or 0 < pause.until <= now else pause

    def runs_at(self, now: int) -> bool:
        """Whether jobs may run by themselves at a time (ns): not stopped, and not paused."""
        return self.stopped is None and self.paused_at(now) is None


_CONDITIONS = Conditions.__struct_fields__
_TUPLES = ("paths", "exclude", "windows", "throttle")


def effective(levels: Sequence[Level]) -> Plan:
    """The plan of some levels, the nearest first."""
    values, origins = dict[str, Any](), dict[str, str]()
    for level in reversed(levels):
        if level.record is None:
            continue
        for name in FIELDS:
            value = getattr(level.record, name)
            if value is None:
                continue
            if name in ("paths", "what") and level.what != "item":
                continue  # of a wider level they would make every item the same
            if name == "paused" and not _ends_later(value, values.get(name)):
                continue
            if name == "stopped" and name in values:
                continue
            values[name] = tuple(value) if name in _TUPLES else value
            origins[name] = f"{level.what} {level.name}".strip()
    conditions = {name: values.pop(name) for name in _CONDITIONS if name in values}
    return Plan(conditions=Conditions(**conditions), origins=origins, **values)


def _ends_later(pause: Pause, other: Pause | None) -> bool:
    if other is None or not pause.until:
        return True
    return 0 < other.until < pause.until


def _zone(name: str | None) -> tzinfo | None:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return None if name is None else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
