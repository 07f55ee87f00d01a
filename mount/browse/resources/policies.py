"""What is backed up, when, and how long points are kept, in words; and what is due next. Read only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from catalog.errors import RpdriveError, StoreError
from catalog.format.records import Item, Machine
from catalog.machines.registry import machine_names
from catalog.plans.effective import Plan
from catalog.plans.effective import effective as effective_plan
from catalog.plans.listing import next_runs, plan_rows, state_text
from catalog.plans.records import Plans
from catalog.plans.wording import OFF, schedule_text
from catalog.policies.listing import policy_rows, value_text
from catalog.policies.records import Policies
from catalog.retention.policy import FIELDS, Policy
from catalog.screen.text import counted, safe_text
from mount.browse.resources.looks import Found, looks_of
from mount.browse.resources.opened import Opened
from mount.browse.resources.wire import short, when

MOST = 100  # items of an answer
FRESH = 30.0  # seconds for which what was listed serves
_PATHS = 5  # of a plan in a sentence
_COUNTED = {"daily": "day", "weekly": "week", "monthly": "month", "yearly": "year"}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A field as it can be typed, and the level that says so: empty if none does."""

    field: str
    value: str
    level: str


class Coming(msgspec.Struct, frozen=True, kw_only=True):
    """What is due next, and when (ISO 8601)."""

    what: str
    when: str


class ItemPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """An item: how long points are kept, what its plan does, in words and by field. `fault`: what can't be read."""

    machine: str
    machine_name: str
    item: str
    item_name: str
    kind: str
    keeps: str
    policy: list[Line]
    does: str
    state: str
    plan: list[Line]
    next: list[Coming]
    fault: str


class PolicyPage(msgspec.Struct, frozen=True, kw_only=True):
    """Items `from` one on, of `shown` that were asked for, of `total`. `damaged` are records that can't be read."""

    total: int
    shown: int
    from_: int = msgspec.field(name="from")
    items: list[ItemPolicy]
    damaged: list[str]


class _Listed(NamedTuple):
    """The machines and items by name, with what plans and policies of the vault are there."""

    items: tuple[tuple[Machine | None, Item], ...]
    names: dict[bytes, str]
    policies: Policies
    plans: Plans
    until: float


_listed: WeakKeyDictionary[Opened, _Listed] = WeakKeyDictionary()
_lock = threading.Lock()


def policies(
    opened: Opened, *, start: int = 0, count: int = 20, text: str = "", clock: Callable[[], int] = time.time_ns
) -> PolicyPage:
    """The plans and policies of items whose names contain `text`, by machine and name, from `start` on.

    Costs 4 listings at most every 30 seconds, and 1 request for each record not seen before. Raises StoreError.
    """
    with _lock:  # the levels that are read are kept in plain dictionaries
        listed = _listed.get(opened)
        if listed is None or time.monotonic() > listed.until:
            listed = _listed[opened] = _list(opened)
        wanted, now = text.casefold(), clock()
        chosen = [
            (machine, item)
            for machine, item in listed.items
            if wanted in f"{listed.names.get(item.machine, '')}\n{item.name}".casefold()
        ]
        found = looks_of(opened).state().found
        rows = [
            _row(listed, machine, item, found, now) for machine, item in chosen[start : start + min(count, MOST)]
        ]
    passed = opened.vault.passed_over
    damaged = [str(row) for prefix in ("plans/", "policies/") for row in passed.rows(prefix)]
    return PolicyPage(total=len(listed.items), shown=len(chosen), from_=start, items=rows, damaged=damaged[:100])


def _list(opened: Opened) -> _Listed:
    vault = opened.vault
    machines = vault.machines()
    names = machine_names(machines)
    pairs = [(machines.get(item.machine), item) for item in vault.all_items()]
    shown = [(machine, item) for machine, item in pairs if machine is None or not machine.forgotten]
    shown.sort(key=lambda pair: (names.get(pair[1].machine, ""), pair[1].machine, pair[1].name, pair[1].id))
    return _Listed(tuple(shown), names, Policies(vault), Plans(vault), time.monotonic() + FRESH)


def _row(listed: _Listed, machine: Machine | None, item: Item, found: Found | None, now: int) -> ItemPolicy:
    name = listed.names.get(item.machine, item.machine.hex()[:8])
    system, fault = machine.system if machine is not None else "", ""
    policy, plan = Policy(), Plan()
    try:
        policy = listed.policies.policy(item.machine, item.id)
        plan = effective_plan(listed.plans.levels(item.machine, name, item.id, item.name))
    except RpdriveError as e:
        if isinstance(e, StoreError):
            raise
        fault = str(e)
    return ItemPolicy(
        machine=item.machine.hex(), machine_name=short(name), item=item.id.hex(), item_name=short(item.name),
        kind=short(item.kind), keeps=keeps(policy),
        policy=[Line(field=f, value=v, level=short(o)) for f, v, o in policy_rows(policy) if o],
        does=does(plan, system), state=safe_text(state_text(plan, now)),
        plan=[Line(field=f, value=safe_text(v)[:4_000], level=short(o)) for f, v, o in plan_rows(plan, system)],
        next=coming(plan, item, found, now), fault=short(fault, 1_000),
    )  # fmt: skip


def keeps(policy: Policy) -> str:
    """How long points are kept, in a sentence."""
    if policy.unknown:
        return f"Nothing is removed: this rpdrive does not know {safe_text(', '.join(policy.unknown))}."
    if not policy.is_complete:
        said = "Every point is kept, as no policy says how long."
    else:
        parts = [value_text(policy, name) for name in FIELDS if name in _COUNTED and policy_has(policy, name)]
        parts += [counted(policy.hourly, "hour")] if policy.hourly else []
        said = f"One point for each of {', '.join(parts)} is kept."
        if policy.last:
            said += f" The last {counted(policy.last, 'point')} are kept in any case."
        if policy.erase_after:
            said += f" A point goes after {counted(policy.erase_after, 'day')} at the latest."
    if policy.immutable:
        said += f" The vault keeps every point for {counted(policy.immutable, 'day')} in any case."
    return said


def policy_has(policy: Policy, name: str) -> bool:
    return any(str(unit) == name for unit in policy.rules)


def does(plan: Plan, system: str = "") -> str:
    """What a plan does by itself, in a sentence."""
    schedule = "" if plan.schedule is None else schedule_text(plan.schedule)
    if not plan.saves or schedule in ("", OFF):
        return "Nothing is backed up by itself: no plan says when."
    rows = {row[0]: row[1] for row in plan_rows(plan, system)}
    what = rows.get("paths", "") or "the system state"
    paths = what.split(", ")
    if len(paths) > _PATHS:
        what = f"{', '.join(paths[:_PATHS])} and {len(paths) - _PATHS} more"
    at = f"at {schedule}" if not schedule.startswith("every") else schedule
    zone = f" ({plan.zone})" if plan.zone else ""
    return safe_text(f"Backs up {what} {at}{zone}.")[:2_000]


def coming(plan: Plan, item: Item, found: Found | None, now: int) -> list[Coming]:
    """The next backups of an item, and the upkeep of its machine as far as the last look says when that is due."""
    rows = []
    if plan.saves:
        rows += [("backup", slot) for slot in next_runs(plan, now)]
    for row in found.health.upkeep if found is not None else ():
        if row.machine == item.machine.hex() and row.expected:
            rows.append((f"{row.what.replace('-', ' ')} of the machine", row.expected))
    rows.sort(key=lambda row: row[1])
    return [Coming(what=what, when=at) for what, ns in rows if (at := when(ns)) is not None]
