"""A policy: what the vault, the machine and the item say together. Field by field, the nearest one counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from catalog.errors import LocalError
from catalog.format.retention import MOST, OTHERS, Retention, RetentionRule, Unknown
from catalog.retention.slots import Slots, Unit

FIELDS = ("zone", *MOST, *OTHERS)
LEAST = {"daily": 7, "weekly": 4, "monthly": 3, "yearly": 1, "erase_after": 7}  # without --unsafe-short


class Level(NamedTuple):
    """The newest record of the vault, a machine or an item.

    `what` is `vault`, `machine` or `item`, `name` that of the machine or item. `number` is that of the record, 0 if
    there is none; a record that can't be read has a number, too.
    """

    what: str
    name: str
    id: bytes
    number: int = 0
    record: Retention | None = None
    unknown: Unknown = MappingProxyType({})

    def __str__(self) -> str:
        return f"the {self.what}" + (f" {self.name}" if self.name else "")


@dataclass(frozen=True)
class Policy:
    """What is kept. `rules` has the rules that are on; 0: that field is off.

    `hourly` is hours, `last` points, `erase_after` and `immutable` days. `unknown` are the fields of the records
    that this version doesn't know: nothing is removed then. `origins` says which level each value comes from.
    """

    zone: tzinfo | None = None
    rules: Mapping[Unit, RetentionRule] = field(default_factory=dict)
    last: int = 0
    hourly: int = 0
    erase_after: int = 0
    immutable: int = 0
    unknown: tuple[str, ...] = ()
    origins: Mapping[str, Level] = field(default_factory=dict)

    @cached_property
    def slots(self) -> dict[Unit, Slots]:
        """The slots of each rule, which remember what they found: a forecast asks for the same ones each day."""
        assert self.zone is not None
        return {unit: Slots(unit, rule, self.zone) for unit, rule in self.rules.items()}

    @property
    def is_complete(self) -> bool:
        """Whether it says how long points are kept. Without that, all are."""
        return self.zone is not None and bool(self.rules)


def zone_named(name: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises LocalError if this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as e:
        raise LocalError(
            f"this machine has no data for the time zone {name!r}", "use an IANA name, or update the package tzdata"
        ) from e


def effective(levels: Sequence[Level], immutable: int = 0) -> Policy:
    """The policy of some levels, the nearest first. `immutable`: days for which the vault itself keeps every point.

    Raises LocalError for an unknown time zone.
    """
    values, origins = dict[str, Any](), dict[str, Level]()
    for level in reversed(levels):
        for name in FIELDS:
            value = None if level.record is None else getattr(level.record, name)
            if value is not None:
                values[name], origins[name] = value, level
    return Policy(
        zone=zone_named(values["zone"]) if "zone" in values else None,
        rules={unit: values[unit] for unit in Unit if unit in values and values[unit].keep},
        **{name: values.get(name, 0) for name in OTHERS},
        immutable=immutable,
        unknown=tuple(sorted({name for level in levels for name in level.unknown})),
        origins=origins,
    )


def shortened(old: Policy, new: Policy) -> list[str]:
    """The fields by which `new` keeps less than `old`, or may: a rule with other slots keeps other points."""
    found = []
    for unit in Unit:
        was, now = old.rules.get(unit), new.rules.get(unit)
        if was is not None and (now is None or now.keep < was.keep or _slots(now) != _slots(was)):
            found.append(str(unit))
    found += [name for name in ("last", "hourly") if getattr(new, name) < getattr(old, name)]
    if new.erase_after and (not old.erase_after or new.erase_after < old.erase_after):
        found.append("erase_after")
    if old.rules and str(old.zone) != str(new.zone):
        found.append("zone")
    return found


def _slots(rule: RetentionRule) -> tuple[list[int], ...]:
    return rule.times, rule.weekdays, rule.weeks, rule.days, rule.months
