"""Records of retention: how long recovery points are kept. docs/format.md, "Retention".

A field that this version doesn't know may keep points, so none is dropped: `decode_retention` returns them, and
whoever adds the next version of a record writes them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, TypeAlias

import msgspec

from catalog.errors import Damaged
from catalog.format.message import Id, Whole, decode, misfit
from catalog.format.numbers import level_named, written_number

LAST_WEEK = 5  # the last weekday of its name in a month, be it the fourth or the fifth
LAST_DAY = 31  # of every month: a shorter one ends earlier
MOST = {"daily": 9_999, "weekly": 5_163, "monthly": 1_188, "yearly": 99}  # `keep` of each rule, in its unit
MOST_TIMES = 24  # of a day
OTHERS = ("last", "hourly", "erase_after")  # the fields that are a number

Kept: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=9_999)]
Minute: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1_439)]
Weekday: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=7)]
Week: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=LAST_WEEK)]
Day: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=LAST_DAY)]
Month: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=12)]
ZoneName: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_+\-]{1,30}(/[A-Za-z0-9_+\-]{1,30}){0,3}$")]


class RetentionRule(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Points of some slots are kept for `keep` days, weeks, months or years; 0: the rule is off.

    `times` are minutes after midnight, `weekdays` 1 (Monday) to 7, `weeks` those of a month, 5 being the last one;
    `days` are those of a month, 31 being its last. Empty lists have a meaning for each rule.
    """

    keep: Kept
    times: list[Minute] = []
    weekdays: list[Weekday] = []
    weeks: list[Week] = []
    days: list[Day] = []
    months: list[Month] = []


class Retention(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """policies/<id>/<number>: what the vault, a machine or an item says. None: what the level above says.

    `hourly` is hours, `erase_after` days, `last` points; 0: off. `written` and `by` are for people.
    """

    id: Id
    number: Whole
    written: Whole
    by: str = ""
    zone: ZoneName | None = None
    daily: RetentionRule | None = None
    weekly: RetentionRule | None = None
    monthly: RetentionRule | None = None
    yearly: RetentionRule | None = None
    last: Kept | None = None
    hourly: Kept | None = None
    erase_after: Kept | None = None


Unknown: TypeAlias = Mapping[str, Any]  # by the names of the fields; `daily.x` is in the rule `daily`


class ReadRetention(NamedTuple):
    """A record, and the fields in it that this version doesn't know."""

    record: Retention
    unknown: Unknown


_decoder = msgspec.msgpack.Decoder(dict[str, Any])
_encoder = msgspec.msgpack.Encoder()
_LISTS = ("times", "weekdays", "weeks", "days", "months")
_TAKES = {
    "daily": ("times",),
    "weekly": ("times", "weekdays"),
    "monthly": ("times", "weekdays", "weeks", "days"),
    "yearly": _LISTS,
}


def fault_of(record: Retention) -> tuple[str, str] | None:
    """The first field whose value has no meaning, and why; None if there is none."""
    for name, most in MOST.items():
        rule: RetentionRule | None = getattr(record, name)
        if rule is None:
            continue
        if rule.keep > most:
            return f"{name}.keep", f"{rule.keep} is more than {most}"
        for field in _LISTS:
            found: list[int] = getattr(rule, field)
            if found and field not in _TAKES[name]:
                return f"{name}.{field}", "this rule has none"
            if found != sorted(set(found)):
                return f"{name}.{field}", "not ascending"
        if len(rule.times) > MOST_TIMES:
            return f"{name}.times", f"more than {MOST_TIMES}"
        if name in ("monthly", "yearly"):
            if rule.days and (rule.weeks or rule.weekdays):
                return f"{name}.days", "together with weeks or weekdays"
            if bool(rule.weeks) != bool(rule.weekdays):
                return f"{name}.weeks", "weeks and weekdays need each other"
    return None


def encode_retention(record: Retention, unknown: Unknown | None = None) -> bytes:
    """The content of the record. `unknown` are fields of an earlier version of it, which are kept."""
    row: dict[str, Any] = msgspec.to_builtins(record, builtin_types=(bytes,))
    for path, value in (unknown or {}).items():
        outer, inside, inner = path.partition(".")
        if not inside:
            row[path] = value
        elif isinstance(row.get(outer), dict):
            row[outer][inner] = value
    return _encoder.encode(row)


def decode_retention(data: bytes, name: str) -> ReadRetention:
    """The record in the content of the signed object of this name. Raises Damaged, which names the bad field."""
    row = decode(_decoder, data, name)
    try:
        record = msgspec.convert(row, Retention)
    except (msgspec.ValidationError, OverflowError) as e:
        raise misfit(e, name) from e
    fault = fault_of(record)
    if fault is not None:
        raise Damaged(f"{name} is malformed in the field {fault[0]}: {fault[1]}")
    if policy_folder(record.id) + written_number(record.number) != name:
        raise Damaged(f"{name} holds a different record than its name says")
    unknown = {key: value for key, value in row.items() if key not in Retention.__struct_fields__}
    for rule in MOST:
        inside = row.get(rule) or {}
        unknown |= {f"{rule}.{k}": v for k, v in inside.items() if k not in RetentionRule.__struct_fields__}
    return ReadRetention(record, unknown)


def policy_folder(level: bytes) -> str:
    """The folder of the records of a vault, a machine or an item (its id), with a slash."""
    return f"policies/{level.hex()}/"


def policy_named(name: str) -> tuple[bytes, int] | None:
    """The id and the number in the name of a record of retention; None for another name."""
    return level_named("policies", name)
