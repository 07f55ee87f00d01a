"""What `rpdrive policy set` is asked for, from options and a TOML file, and the record that follows from it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from catalog.author import who
from catalog.documents import read_toml
from catalog.errors import UsageError
from catalog.format.retention import MOST, OTHERS, Retention, RetentionRule
from catalog.policies.zone import local_zone
from catalog.retention.policy import FIELDS, LEAST, Level, Policy, effective, shortened, zone_named
from catalog.retention.slots import Unit
from catalog.retention.wording import parse_rule

INHERIT, OFF = "inherit", "off"
_MOST_NUMBER, _LONGEST_FILE = 9_999, 64 << 10  # bytes
_UNITS = {"last": "points", "hourly": "hours", "erase_after": "days"}
Fields = Mapping[str, Any]  # values for Retention; None: inherited


def read_fields(file: Path | None, options: Mapping[str, str | None], *, needed: bool = False) -> Fields:
    """The fields that a TOML file and options give; options come first.

    Raises UsageError, also if there are none and `needed` is set, and LocalError.
    """
    given: dict[str, object] = {} if file is None else _from_toml(file)
    given |= {name: text for name, text in options.items() if text is not None}
    if needed and not given:
        raise UsageError("no field is given", "give e.g. --daily 30, or --file FILE (docs/retention.md)")
    return values_of(given)


def _from_toml(file: Path) -> dict[str, object]:
    row = read_toml(file, _LONGEST_FILE)
    for name in row:
        if name not in FIELDS:
            raise UsageError(f"{file} has an unknown field {name!r}", f"fields are {', '.join(FIELDS)}")
    return row


def values_of(given: Mapping[str, object]) -> Fields:
    """The values of fields as they were written. Raises UsageError, also for one of another type."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise UsageError(f"{name} is neither a text nor a number", "see docs/retention.md")
    return {name: _value(name, value) for name, value in given.items()}


def _value(name: str, given: object) -> Any:
    text = str(given).strip()
    if text.lower() == INHERIT:
        return None
    if name == "zone":
        zone_named(text)
        return text
    if name in MOST:
        return parse_rule(Unit(name), text)
    if text.lower() == OFF:
        return 0
    number, _, unit = text.lower().partition(" ")
    known = _UNITS[name]
    if unit not in ("", known, known[:-1]) or not number.isdecimal() or not 1 <= int(number) <= _MOST_NUMBER:
        raise UsageError(
            f"{name} {text[:100]!r} is not a number of {known} from 1 to {_MOST_NUMBER:,}",
            "use `off` to switch it off, or `inherit`",
        )
    return int(number)


def changed(level: Level, fields: Fields, *, anew: bool = False) -> Level:
    """A level after a change of these fields; `anew`: as if it had said nothing before.

    The first record of a vault takes the time zone of this machine if none is given. Raises UsageError if none is
    known.
    """
    record, unknown = (None, {}) if anew else (level.record, level.unknown)
    values = dict(fields)
    if level.what == "vault" and values.get("zone", record and record.zone) is None:
        values["zone"] = local_zone()
        if values["zone"] is None:
            raise UsageError("this machine does not say in which time zone it is", "name it: --zone Europe/Berlin")
    new = Retention(id=level.id, number=level.number + 1, written=time.time_ns(), by=who())
    if record is not None:
        new = msgspec.structs.replace(new, **{name: getattr(record, name) for name in FIELDS})
    new = msgspec.structs.replace(new, **values)
    # A rule that is replaced takes the fields along that this version doesn't know.
    left = {name: value for name, value in unknown.items() if name.partition(".")[0] not in fields}
    return level._replace(record=new, unknown=left)


def check(levels: list[Level], fields: Fields, old: Policy, immutable: int, *, locked: bool, short: bool) -> Policy:
    """The policy that the levels (the nearest first) make, `fields` of it being new. Raises UsageError if it must
    not be: it says nothing, is shorter than the least (unless `short`), or is at odds with an immutable vault."""
    new = effective(levels, immutable)
    if new.zone is None:
        raise UsageError("the policy has no time zone", "set the vault's policy first, or give --zone")
    if not new.rules:
        raise UsageError(
            "the policy has no rule by which points are kept", "give --daily, --weekly, --monthly or --yearly"
        )
    for name, least in LEAST.items():
        value = fields.get(name)
        number = value.keep if isinstance(value, RetentionRule) else value
        if number and number < least and not short:
            unit = _UNITS.get(name) or Unit(name).name_of_one + "s"
            raise UsageError(
                f"{name} {number} is less than {least} {unit}",
                "add --unsafe-short if points are really to go so soon",
            )
    if 0 < new.erase_after < immutable:
        raise UsageError(
            f"erase_after {new.erase_after} is less than the {immutable} days for which this vault is immutable",
            "give more days, or none",
        )
    less = shortened(old, new)
    if locked and less:
        raise UsageError(
            f"this vault is locked as immutable, and the policy would keep less: {', '.join(less)}",
            "a locked vault takes only policies that keep at least as much",
        )
    return new


assert set(OTHERS) == set(_UNITS)
