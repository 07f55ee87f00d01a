"""The fields of plans, from values of TOML files and texts of options, and back. Each has one form."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from catalog.errors import LocalError, UsageError
from catalog.format.plan import CARE, FIELDS, MOST, Care, Limit, PlanRecord, Schedule, Window, fault_of
from catalog.format.records import ItemKind
from catalog.patterns import rules_of
from catalog.plans.effective import SNAPSHOTS
from catalog.plans.wording import (
    OFF,
    care_text,
    limit_text,
    minutes_text,
    parse_care,
    parse_limit,
    parse_minutes,
    parse_schedule,
    parse_window,
    schedule_text,
    window_text,
)
from catalog.retention.policy import zone_named

INHERIT = "inherit"
STATES = ("paused", "stopped")  # set by commands of their own
SETTABLE = tuple(name for name in FIELDS if name not in STATES)
BOOLEANS = (
    "exclude_caches", "ignore_case", "one_file_system", "cloud_files", "catch_up", "ac_power", "unmetered",
)  # fmt: skip
_MINUTES = {"spread": 720, "grace": 86_400}
KINDS: Mapping[str, str] = {
    "files": ItemKind.FILES, "volume": ItemKind.VOLUME, "system state": ItemKind.SYSTEM, "image": ItemKind.IMAGE,
}  # fmt: skip
_LISTS = ("paths", "exclude", "windows", "throttle")
Fields = Mapping[str, Any]  # values for PlanRecord; None: inherited


def value_of(name: str, given: object) -> Any:
    """The value of a field, from a file or an option. None: inherited. Raises UsageError, which names the field."""
    try:
        for one in given if isinstance(given, list) and name != "paths" else [given]:
            str(one).encode()
        return _value(name, given)
    except UsageError as e:
        raise UsageError(f"{name}: {e}", e.advice) from e
    except UnicodeEncodeError as e:
        raise UsageError(f"{name} can't be recorded: it is not UTF-8", "write it in UTF-8") from e


def _value(name: str, given: object) -> Any:
    if isinstance(given, str) and given.strip().lower() == INHERIT:
        return None
    if name in BOOLEANS:
        if not isinstance(given, bool):
            raise UsageError(f"{str(given)[:100]!r} is neither true nor false", "write true, false or 'inherit'")
        return given
    if name in _LISTS:
        if isinstance(given, str) and given.strip().lower() == OFF and name in ("windows", "throttle", "exclude"):
            return []
        if not isinstance(given, list) or len(given) > MOST[name]:
            raise UsageError(f"this is no list of at most {MOST[name]:,}", "write e.g. ['a', 'b']")
        return _list(name, given)
    if not isinstance(given, str):
        raise UsageError(f"{str(given)[:100]!r} is no text", "put it in quotes")
    text = given.strip()
    if name == "schedule":
        return parse_schedule(text)
    if name in CARE:
        return parse_care(text, name)
    if name == "what":
        kind = KINDS.get(text.lower().replace("-", " "))
        if kind is None:
            raise UsageError(f"{text[:100]!r} is no kind of item", f"write one of {', '.join(KINDS)}")
        return str(kind)
    if name == "snapshot":
        if text.lower() not in SNAPSHOTS:
            raise UsageError(f"{text[:100]!r} can't be used", f"write one of {', '.join(SNAPSHOTS)}")
        return text.lower()
    if name in _MINUTES:
        minutes = parse_minutes(text, name)
        if minutes > _MINUTES[name]:
            raise UsageError(f"{text!r} is more than {minutes_text(_MINUTES[name])}", "give less")
        return minutes
    if name == "load":
        return 0 if text.lower() == OFF else _number(text, r"(\d{1,5}) *%", 1, 10_000, "80%, or off")
    if name == "at_most":
        return _number(text.lower(), r"(\d{1,3}) *(?:d|days?)", 1, 366, "3d")
    if name == "zone":
        try:
            zone_named(text)
        except LocalError as e:
            raise UsageError(str(e), e.advice) from e
        return text
    if name == "ignore_files":
        text = "" if text.lower() == OFF else text
    return text


def _number(text: str, pattern: str, least: int, most: int, example: str) -> int:
    m = re.fullmatch(pattern, text)
    if m is None or not least <= int(m[1]) <= most:
        raise UsageError(f"{text[:100]!r} can't be used", f"write e.g. {example}")
    return int(m[1])


def _list(name: str, given: list[Any]) -> list[Any]:
    if name == "paths":
        return sorted({_path(one) for one in given})
    texts = [one for one in given if isinstance(one, str)]
    if len(texts) != len(given):
        raise UsageError("not all of them are texts", "put each in quotes")
    if name == "windows":
        return [parse_window(text) for text in texts]
    return [parse_limit(text) for text in texts] if name == "throttle" else texts


def _path(given: object) -> bytes:
    """A path: a text, or { hex = "…" } for one that is not UTF-8."""
    if isinstance(given, bytes):
        return given
    if isinstance(given, str):
        return os.fsencode(given)
    try:
        if not isinstance(given, dict) or list(given) != ["hex"]:
            raise ValueError(given)
        return bytes.fromhex(given["hex"])
    except (ValueError, TypeError) as e:
        raise UsageError("a path is neither a text nor { hex = '…' }", "put it in quotes") from e


def checked(fields: Fields) -> Fields:
    """The fields, if they have a meaning together. Raises UsageError, which names the first bad one."""
    known = {name: value for name, value in fields.items() if value is not None}
    record = PlanRecord(id=bytes(16), number=1, written=0, **known)
    try:
        msgspec.convert(msgspec.to_builtins(record, builtin_types=(bytes,)), PlanRecord)
        fault = fault_of(record)
    except (msgspec.ValidationError, UnicodeEncodeError) as e:
        raise UsageError(f"a field can't be used: {e}".replace("`$.", "`"), "see docs/plans.md") from e
    if fault is not None:
        raise UsageError(f"{fault[0]} can't be used: {fault[1]}", "see docs/plans.md")
    rules_of(known.get("exclude", ()), "exclude", ignore_case=False)
    return fields


def toml_value(name: str, value: Any) -> Any:
    """A field's value for a TOML file: what `value_of` reads."""
    if name == "paths":
        return [_path_value(path) for path in value]
    if name == "windows":
        return [window_text(window) for window in value]
    if name == "throttle":
        return [limit_text(limit) for limit in value]
    if name in BOOLEANS or name == "exclude":
        return value
    return field_text(name, value)


def _path_value(path: bytes) -> Any:
    try:
        return path.decode()
    except UnicodeDecodeError:
        return {"hex": path.hex()}


def field_text(name: str, value: Any) -> str:
    """A field's value as a line for people; of one that is a text in a TOML file, that text."""
    match value:
        case bool():
            return "yes" if value else "no"
        case Schedule():
            return schedule_text(value)
        case Care():
            return care_text(value)
        case list() | tuple():
            return ", ".join(_element(one) for one in value) or ("any time" if name == "windows" else "none")
    if name in _MINUTES:
        return minutes_text(value)
    if name == "load":
        return f"{value}%" if value else OFF
    if name == "at_most":
        return f"{value}d"
    if name == "ignore_files":
        return value or OFF
    if name == "what":
        return value or "files"
    return str(value)


def _element(one: object) -> str:
    match one:
        case Window():
            return window_text(one)
        case Limit():
            return limit_text(one)
        case bytes():
            return os.fsdecode(one)
    return str(one)
