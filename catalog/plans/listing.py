"""Plans as text and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catalog.format.plan import Pause
from catalog.plans.effective import AT_MOST, SPREAD, Level, Plan
from catalog.plans.fields import SETTABLE, field_text, toml_value
from catalog.plans.paths import shown_path
from catalog.schedule.due import next_slot
from catalog.screen.text import iso_time, local_time

COLUMNS = ("FIELD", "VALUE", "FROM")
LIST_COLUMNS = ("MACHINE", "ITEM", "BACKUPS", "NEXT", "")
_NEXT = 3  # runs that are shown
_DEFAULTS: Mapping[str, str] = {
    "catch_up": "yes", "spread": f"{SPREAD}m", "grace": "2h, or half a period", "at_most": f"{AT_MOST}d",
}  # fmt: skip


def field_of(plan: Plan, name: str) -> Any:
    """A field of a plan, whichever part of it that is in."""
    return getattr(plan.conditions, name) if hasattr(plan.conditions, name) else getattr(plan, name)


def plan_rows(plan: Plan, system: str = "") -> list[list[str]]:
    """Cells for COLUMNS: the fields that some level says, and the defaults that matter."""
    rows = []
    for name in SETTABLE:
        origin = plan.origins.get(name)
        if origin is None:
            if name in _DEFAULTS and (plan.schedule is not None):
                rows.append([name.replace("_", " "), _DEFAULTS[name], "default"])
            continue
        value = field_of(plan, name)
        text = ", ".join(shown_path(p, system) for p in value) if name == "paths" else field_text(name, value)
        rows.append([name.replace("_", " "), text, origin])
    return rows


def next_runs(plan: Plan, now: int, number: int = _NEXT) -> list[int]:
    """When the next backups are due (ns), the spread of machines aside."""
    found: list[int] = []
    while len(found) < number:
        slot = next_slot(plan, found[-1] if found else now)
        if slot is None or (found and slot <= found[-1]):
            break
        found.append(slot)
    return found


def state_text(plan: Plan, now: int) -> str:
    """`stopped …`, `paused …`, or nothing."""
    if plan.stopped is not None:
        return f"stopped since {local_time(plan.stopped.since)[:16]}"
    pause = plan.paused_at(now)
    return "" if pause is None else f"paused {pause_text(pause)}"


def pause_text(pause: Pause) -> str:
    until = f"until {local_time(pause.until)[:16]}" if pause.until else "until it is resumed"
    return f"{until} ({pause.reason})" if pause.reason else until


def level_json(level: Level) -> dict[str, Any]:
    return {"level": level.what, "name": level.name, "id": level.id.hex(), "number": level.number}


def plan_json(plan: Plan, now: int) -> dict[str, Any]:
    """A plan for --json: each field that a level says, as in a TOML file, with the level it comes from."""
    fields: dict[str, Any] = {}
    for name in SETTABLE:
        origin = plan.origins.get(name)
        value = None
        if origin is not None:
            found = field_of(plan, name)
            value = toml_value(name, list(found) if isinstance(found, tuple) else found)
        fields[name] = {"value": value, "from": origin}
    pause, stop = plan.paused_at(now), plan.stopped
    return {
        "fields": fields,
        "paused": None
        if pause is None
        else {"since": iso_time(pause.since), "until": iso_time(pause.until) if pause.until else None,
              "reason": pause.reason},
        "stopped": None if stop is None else {"since": iso_time(stop.since), "keep": stop.keep},
        "zone_is_known": plan.zone_is_known,
        "next_runs": [iso_time(slot) for slot in next_runs(plan, now)],
    }  # fmt: skip
