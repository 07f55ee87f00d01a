"""What `rpdrive plan set` and `import` are asked for, and the change of a level's record that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from catalog.documents import read_toml
from catalog.errors import UsageError
from catalog.format.plan import CARE, PlanRecord, Schedule
from catalog.format.records import ItemKind
from catalog.plans.effective import Level, Plan, effective
from catalog.plans.fields import INHERIT, SETTABLE, Fields, checked, value_of
from catalog.plans.records import next_record
from catalog.plans.wording import (
    OFF,
    monday_of,
    parse_date,
    parse_minutes,
    parse_times,
    parse_weekdays,
    schedule_of,
)
from catalog.policies.zone import local_zone

_LIST_OPTIONS = ("exclude", "windows", "throttle")  # `off` and `inherit` are meant if they are the only one


class Times(NamedTuple):
    """The options that change a schedule: each as it was typed, None if it is not given."""

    at: str | None = None
    every: str | None = None
    on: str | None = None
    every_weeks: int | None = None
    start: str | None = None

    @property
    def is_given(self) -> bool:
        return any(value is not None for value in self)

    def check(self) -> None:
        """Raise UsageError for an option that has no meaning whatever the plan says."""
        words = {(text or "").strip().lower() for text in (self.at, self.every)}
        if not words & {INHERIT, OFF}:
            schedule_from(self, Plan(schedule=Schedule(times=[0]), zone="UTC"), 0)


def read_fields(
    file: Path | None, options: Mapping[str, object], inherit: Sequence[str] = (), *, needed: bool = False
) -> Fields:
    """The fields that a TOML file and options give; options come first.

    `inherit` names fields that are to be what the wider level says. Raises UsageError, also if there are none and
    `needed` is set, and LocalError.
    """
    given: dict[str, object] = {} if file is None else dict(read_toml(file))
    for name in given:
        if name not in SETTABLE:
            raise UsageError(f"{file} has an unknown field {name[:100]!r}", f"fields are {', '.join(SETTABLE)}")
    given |= {name: _keyword(name, value) for name, value in options.items() if value not in (None, [])}
    for name in inherit:
        field = name.replace("-", "_")
        if field not in SETTABLE:
            raise UsageError(f"no plan has a field {name[:100]!r}", f"fields are {', '.join(SETTABLE)}")
        given[field] = INHERIT
    if needed and not given:
        raise UsageError("no field is given", "give e.g. --at 21:00, or --file FILE (docs/plans.md)")
    return checked({name: value_of(name, value) for name, value in given.items()})


def _keyword(name: str, value: object) -> object:
    """An option that may be repeated, given once with `off` or `inherit`, as that word."""
    if name in _LIST_OPTIONS and isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        word = value[0].strip().lower()
        return word if word in (OFF, INHERIT) else value
    return value


def schedule_from(times: Times, plan: Plan, now: int) -> Schedule | None:
    """The schedule after a change by options of what a plan says so far. None: inherited. Raises UsageError."""
    words = {(text or "").strip().lower() for text in (times.at, times.every)}
    if INHERIT in words or OFF in words:
        if sum(value is not None for value in times) > 1:
            raise UsageError("`off` and `inherit` stand alone", "give --at or --every with it, and no other time")
        return None if INHERIT in words else Schedule()
    before = plan.schedule or Schedule()
    at, every = before.times, before.every
    if times.at is not None or times.every is not None:
        at = [] if times.at is None else parse_times(times.at)
        every = 0 if times.every is None else parse_minutes(times.every, "--every")
    if not at and not every:
        raise UsageError("there is no time of day yet", "give --at, e.g. --at 21:00, or --every, e.g. --every 4h")
    weeks = before.every_weeks if times.every_weeks is None else times.every_weeks
    found = schedule_of(
        times=at,
        every=every,
        weekdays=before.weekdays if times.on is None else parse_weekdays(times.on),
        every_weeks=weeks,
        start=None if times.start is None else parse_date(times.start),
    )
    if times.start is not None:
        return found
    first = weeks != 1 and before.every_weeks == 1
    anchor = monday_of(datetime.fromtimestamp(now // 10**9, plan.tz).date()) if first else before.anchor
    return msgspec.structs.replace(found, anchor=anchor)


class Change(NamedTuple):
    """What is to become of a level: its next record, if it says something new, and the plan that follows."""

    record: PlanRecord | None
    plan: Plan


def change(levels: Sequence[Level], fields: Fields, *, is_here: bool, anew: bool = False) -> Change:
    """The nearest of the levels after a change of these fields. `anew`: as if it had said nothing before.

    Times of day need a time zone: if no level says one, it is that of this machine, if the plan is for it
    (`is_here`) or for the whole vault. Raises UsageError.
    """
    nearest, *wider = levels
    raise_misplaced(nearest.what, fields)
    values: dict[str, Any] = dict.fromkeys(SETTABLE) if anew else {}
    values.update(fields)
    record = next_record(nearest, **values)
    plan = effective([nearest._replace(record=record), *wider])
    if plan.zone is None and _needs_zone(plan):
        zone = local_zone() if is_here or nearest.what == "vault" else None
        if zone is None:
            raise UsageError(f"the time zone of {nearest} is not known", "name it: --zone Europe/Berlin")
        record = msgspec.structs.replace(record, zone=zone)
        plan = effective([nearest._replace(record=record), *wider])
    _check_kind(plan)
    same = nearest.record is not None and all(
        getattr(record, name) == getattr(nearest.record, name) for name in SETTABLE
    )
    return Change(None if same else record, plan)


def raise_misplaced(what: str, fields: Fields) -> None:
    """Raise UsageError for a field that a `vault`, `machine` or `item` can't have."""
    given = {name for name, value in fields.items() if value is not None}
    if "what" in given and what != "item":
        raise UsageError(f"what to save is of an item, and not of a {what}", "name the item with --item")
    if "paths" in given and what != "item":
        raise UsageError(f"paths are of an item, and not of a {what}", "name the item with --item, or give PATH…")
    if what == "item" and given.intersection(CARE):
        name = min(given.intersection(CARE))
        raise UsageError(f"{name} is of a machine or the vault, and not of an item", "leave --item out for it")


def _check_kind(plan: Plan) -> None:
    """Raise UsageError if what a plan saves does not fit its paths."""
    if plan.what in (ItemKind.VOLUME, ItemKind.IMAGE) and len(plan.paths) > 1:
        raise UsageError(f"an item of the kind {plan.what} has one path", "make an item of each")
    if plan.what == ItemKind.SYSTEM and plan.paths:
        raise UsageError("the system state has no paths: it chooses what it saves", "leave the paths out")


def _needs_zone(plan: Plan) -> bool:
    schedule = plan.schedule
    return bool((schedule and (schedule.times or schedule.every)) or plan.conditions.windows or plan.throttle)
