"""Policies, and what they would remove, as text and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from catalog.format.records import Point
from catalog.points.why import decision_json, ended_text
from catalog.retention.forecast import Going
from catalog.retention.policy import FIELDS, Level, Policy
from catalog.retention.slots import Unit
from catalog.retention.wording import counted_text, rule_text
from catalog.screen.text import local_time, short_ids

COLUMNS = ("FIELD", "VALUE", "FROM")
_UNITS = {"last": "point", "hourly": "hour", "erase_after": "day"}


def value_text(policy: Policy, name: str) -> str:
    """A field as it can be typed again; `-` if no level says anything."""
    level = policy.origins.get(name)
    return "-" if level is None or level.record is None else said_text(name, getattr(level.record, name))


def said_text(name: str, value: Any) -> str:
    """A field's value as it can be typed again."""
    if name == "zone":
        return str(value)
    if name in _UNITS:
        return counted_text(value, _UNITS[name]) if value else "off"
    return rule_text(Unit(name), value)


def policy_rows(policy: Policy) -> list[list[str]]:
    """Cells for COLUMNS."""
    rows = []
    for name in FIELDS:
        level = policy.origins.get(name)
        rows.append([name.replace("_", " "), value_text(policy, name), "" if level is None else str(level)])
    return rows


def policy_json(policy: Policy) -> dict[str, Any]:
    """A policy for --json: each field as text, with the level and the number of the record that it comes from."""
    fields: dict[str, Any] = {}
    for name in FIELDS:
        level = policy.origins.get(name)
        said = None if level is None else value_text(policy, name)
        origin = None if level is None else level_json(level)
        fields[name] = {"value": said, "from": origin}
    return {
        "complete": policy.is_complete,
        "fields": fields,
        "immutable_days": policy.immutable,
        "unknown_fields": list(policy.unknown),
    }


def level_json(level: Level) -> dict[str, Any]:
    return {"level": level.what, "name": level.name, "id": level.id.hex(), "number": level.number}


def going_lines(going: Sequence[Going], points: Mapping[bytes, Point]) -> list[str]:
    """What would go, by day."""
    lines = []
    short = dict(zip(points, short_ids([p.hex() for p in points]), strict=True))
    for day, decisions in going:
        lines.append(f"{'now' if day is None else day.isoformat()}: {counted_text(len(decisions), 'point')}")
        for d in decisions:
            lines.append(f"  {short[d.point.id]}  {local_time(d.point.time)}  {ended_text(d)}")
    return lines


def going_json(going: Sequence[Going], points: Mapping[bytes, Point]) -> list[dict[str, Any]]:
    return [
        {
            "day": None if day is None else day.isoformat(),
            "points": [{"id": d.point.id.hex(), **decision_json(d)} for d in decisions],
        }
        for day, decisions in going
    ]
