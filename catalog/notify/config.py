"""`notify.toml` and `notify-secrets.toml` in the folder of settings: targets, matchers, digest and metrics.

They are read strictly, and an entry with a fault is named by its path. One faulty entry costs only itself: the
other targets still hear of everything, and a matcher with a fault stands for one without rules, as hearing too much
is better than hearing nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from catalog.access.trusted import read_trusted
from catalog.errors import LocalError, UsageError
from catalog.notify.event import Severity, What
from catalog.notify.targets import Target, check_name
from catalog.screen.text import safe_text

FILE, SECRETS = "notify.toml", "notify-secrets.toml"
_LONGEST = 256 << 10  # bytes of each file
_LONGEST_FAULT = 300  # characters
Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DAYS: tuple[Day, ...] = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ADVICE = "see docs/notify.md for an example"
T = TypeVar("T")


class Window(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, rename={"start": "from"}):
    """A part of the week, in the configuration's zone. No `days` are all; "22:00" to "06:00" spans midnight."""

    days: list[Day] = []
    start: str = "00:00"
    to: str = "24:00"


class Matcher(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which events go to which targets. A list that is empty matches all; names may have * and ? in them."""

    targets: list[str]
    severity: list[Severity] = []
    what: list[What] = []
    alerts: list[str] = []
    machines: list[str] = []
    items: list[str] = []
    window: Window | None = None


class Digest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The weekly digest; to all targets of type `smtp` unless `targets` names others."""

    day: Day = "monday"
    time: str = "08:00"
    targets: list[str] = []
    off: bool = False


class Config(NamedTuple):
    """What was read. `faults` are messages about entries that are not used; `zone` None is this machine's zone."""

    targets: dict[str, Target]
    matchers: list[Matcher]
    digest: Digest
    zone: str | None
    metrics: Path | None
    faults: list[str]
    faulty: frozenset[str] = frozenset()  # names of targets with a fault: what is for them waits


NOTHING = Config({}, [], Digest(), None, None, [])


def read_config(folder: Path) -> Config:
    """The configuration in a folder; NOTHING if there is none. Raises LocalError and UsageError if no file is
    usable as a whole; single faults are in the result."""
    document = read_toml(folder / FILE)
    if document is None:
        return NOTHING
    secrets = read_toml(folder / SECRETS, secret=True) or {}
    return parse(document, secrets)


def read_toml(path: Path, *, secret: bool = False) -> dict[str, Any] | None:
    """A TOML file that only this user or root may change; None if it is missing. Raises LocalError, UsageError."""
    data = read_trusted(path, _LONGEST, secret=secret)
    if data is None:
        return None
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as e:
        # A message of the parser quotes characters; of secrets, not even those.
        raise UsageError(f"{path} is not TOML{'' if secret else f': {e}'}", _ADVICE) from None


def parse(document: Mapping[str, Any], secrets: Mapping[str, Any]) -> Config:
    """The configuration that two parsed files make. Faults are in the result; raises nothing."""
    faults: list[str] = []
    known = {"targets", "matchers", "digest", "zone", "metrics"}
    faults += [f"{FILE}: unknown field `{name}`" for name in document if name not in known]
    targets, faulty = _targets(document.get("targets", {}), secrets, faults)
    matchers = _matchers(document.get("matchers", []), {*targets, *faulty}, faults)
    digest = _entry(Digest, document.get("digest", {}), "digest", faults) or Digest()
    if minutes(digest.time) is None or minutes(digest.time) == 1440:
        faults.append(f"{FILE}: digest.time {digest.time[:20]!r} is not a time like 08:00")
        digest = msgspec.structs.replace(digest, time=Digest().time)
    faults += [f"{FILE}: digest.targets names {n[:40]!r}, which is no target" for n in digest.targets
               if n not in targets and n not in faulty]  # fmt: skip
    zone, metrics = _zone(document.get("zone"), faults), _metrics(document.get("metrics"), faults)
    faults = [safe_text(fault)[:_LONGEST_FAULT] for fault in faults]  # names in the file may be anything
    return Config(targets, matchers, digest, zone, metrics, faults, frozenset(faulty))


def _targets(rows: Any, secrets: Mapping[str, Any], faults: list[str]) -> tuple[dict[str, Target], set[str]]:
    targets: dict[str, Target] = {}
    faulty = set[str]()
    if not isinstance(rows, dict):
        faults.append(f"{FILE}: `targets` is not a table")
        return {}, set()
    faults += [f"{SECRETS}: `{name}` is no target of {FILE}" for name in secrets if name not in rows]
    for name, row in rows.items():
        try:
            check_name(name)
        except UsageError as e:
            faults.append(f"{FILE}: {e}")
            continue
        private = secrets.get(name, {})
        if not isinstance(row, dict) or not isinstance(private, dict):
            faults.append(f"{FILE}: targets.{name} is not a table")
            faulty.add(name)
            continue
        merged = row | private
        if isinstance(row.get("headers"), dict) and isinstance(private.get("headers"), dict):
            merged["headers"] = row["headers"] | private["headers"]
        found: Any = _entry(Target, merged, f"targets.{name}", faults)
        try:
            if found is not None:
                found.check()
                targets[name] = found
        except UsageError as e:
            faults.append(f"{FILE}: targets.{name}.{e}")
        if name not in targets:
            faulty.add(name)
    return targets, faulty


def _matchers(rows: Any, names: set[str], faults: list[str]) -> list[Matcher]:
    if not isinstance(rows, list):
        faults.append(f"{FILE}: `matchers` is not a list of tables, [[matchers]]")
        return [Matcher(targets=sorted(names))]
    found: list[Matcher] = []
    for number, row in enumerate(rows):
        where = f"matchers[{number}]"
        matcher: Matcher | None = _entry(Matcher, row, where, faults)
        if matcher is not None:
            faults += [f"{FILE}: {where}.targets names {n[:40]!r}, which is no target" for n in matcher.targets
                       if n not in names]  # fmt: skip
            if _window_is_good(matcher.window, where, faults):
                found.append(matcher)
                continue
        given = row.get("targets") if isinstance(row, dict) else None
        named = [n for n in given if isinstance(n, str)] if isinstance(given, list) else sorted(names)
        found.append(Matcher(targets=named))
    return found


def _window_is_good(window: Window | None, where: str, faults: list[str]) -> bool:
    for name, text in (("from", window.start), ("to", window.to)) if window else ():
        if minutes(text) is None:
            faults.append(f"{FILE}: {where}.window.{name} {text[:20]!r} is not a time like 08:00")
            return False
    return True


def minutes(text: str) -> int | None:
    """Minutes of the day from `HH:MM`, up to 24:00; None if it is something else."""
    hours, colon, rest = text.partition(":")
    if not colon or len(hours) not in (1, 2) or len(rest) != 2 or not (hours + rest).isascii():
        return None
    if not (hours + rest).isdigit():
        return None
    value = int(hours) * 60 + int(rest)
    return value if value <= 1440 and int(rest) < 60 else None


def _zone(value: Any, faults: list[str]) -> str | None:
    if value is None:
        return None
    try:
        ZoneInfo(value)
        return str(value)
    except (KeyError, ValueError, TypeError, OSError, AttributeError):
        faults.append(f"{FILE}: zone {str(value)[:40]!r} is not a time zone like Europe/Berlin")
        return None


def _metrics(value: Any, faults: list[str]) -> Path | None:
    if value is None:
        return None
    if isinstance(value, str) and Path(value).is_absolute() and "\0" not in value:
        return Path(value)
    faults.append(f"{FILE}: metrics is not the absolute path of a folder")
    return None


def _entry(kind: Any, row: Any, where: str, faults: list[str]) -> Any:
    try:
        return msgspec.convert(row, kind)
    except msgspec.ValidationError as e:
        what, _, path = str(e).partition(" - at `$")
        # msgspec quotes names of fields and types, but no values of texts.
        faults.append(f"{FILE}: {where}{path.rstrip('`')}: {what[:1].lower()}{what[1:]}")
        return None


def read_password(path: str) -> str:
    """The password in a file: its first line. Raises LocalError if others may read it, or it can't be read."""
    data = read_trusted(Path(path), 4096, secret=True)
    if data is None:
        raise LocalError(f"the password file {path} does not exist", "write the password into it")
    try:
        text = data.decode("utf-8-sig").splitlines()[0]
    except (UnicodeDecodeError, IndexError):
        raise LocalError(f"the password file {path} has no line of text", "write the password into it") from None
    return text
