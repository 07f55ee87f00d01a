"""`--what-if KEY=VALUE`: what would change. Each key has one kind of value, and bounds. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import msgspec

from catalog.cost.counts import Shape
from catalog.cost.model import Habits, planned
from catalog.cost.money import MONTH
from catalog.cost.prices import FOLDER, Place
from catalog.errors import UsageError
from catalog.screen.text import parse_duration, parse_size

Value = float | str | bool


class Key(NamedTuple):
    """A key of the grammar: what it means, an example, and how its value is read."""

    meaning: str
    example: str
    read: Callable[[str], Value]


def _number(least: float, most: float, *, whole: bool = True) -> Callable[[str], Value]:
    def read(text: str) -> Value:
        plain = text.replace(",", "").replace("_", "")
        power = re.fullmatch(r"10\^(\d{1,2})", plain)
        if power is None and not re.fullmatch(r"\d{1,15}(\.\d{1,6})?(e\d{1,2})?", plain):
            raise ValueError("it is not a number, e.g. 2000, 2,000, 1e6 or 10^6")
        value = 10.0 ** int(power[1]) if power else float(plain)
        if not least <= value <= most:
            raise ValueError(f"it is not from {least:g} to {most:,.15g}")
        if whole and value != int(value):
            raise ValueError("it is not a whole number")
        return value

    return read


def _percent(most: float) -> Callable[[str], Value]:
    def read(text: str) -> Value:
        value = _number(0, most, whole=False)(text.removesuffix("%").rstrip())
        return float(value) / 100

    return read


def _size(text: str) -> Value:
    try:
        value = parse_size(text)
    except UsageError:
        raise ValueError("it is not a size, e.g. 50GB or 1.5T") from None
    if not 0 < value <= 2**60:
        raise ValueError("it is not from 1 byte to 1 EiB")
    return float(value)


def _every(text: str) -> Value:
    """Runs in a month."""
    if text == "off":
        return 0.0
    try:
        seconds = parse_duration(text)
    except UsageError:
        raise ValueError("it is not a length of time, e.g. 1d or 4w, or `off`") from None
    if seconds < 3600:
        raise ValueError("it is less than an hour")
    return MONTH * 86_400 / seconds


def _word(text: str) -> Value:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", text):
        raise ValueError("it is not a word of letters and digits")
    return text


def _yes(text: str) -> Value:
    if text not in ("yes", "no"):
        raise ValueError("it is not `yes` or `no`")
    return text == "yes"


KEYS = {
    "size": Key("bytes of a machine's files; no vault is opened then", "size=50GB", _size),
    "files": Key("files of a machine (with size)", "files=10^6", _number(1, 1e12)),
    "compress": Key("stored bytes, per cent of the files' (with size)", "compress=70%", _percent(110)),
    "machines": Key("machines", "machines=2000", _number(1, 1e6)),
    "items": Key("items of a machine", "items=2", _number(1, 1_000)),
    "grow": Key("times as much data as now", "grow=1.5", _number(0.001, 1_000, whole=False)),
    "points": Key("recovery points of an item, the newest ones", "points=365", _number(1, 9_999)),
    "daily": Key("policy: days for which a point of each day is kept", "daily=30", _number(0, 9_999)),
    "weekly": Key("policy: weeks", "weekly=12", _number(0, 5_163)),
    "monthly": Key("policy: months", "monthly=24", _number(0, 1_188)),
    "yearly": Key("policy: years", "yearly=10", _number(0, 99)),
    "change": Key("data that changes in a day", "change=2%", _percent(100)),
    "backups": Key("backups of an item in a day", "backups=24", _number(0, 288, whole=False)),
    "check-1": Key("how often all folders are checked, or `off`", "check-1=1d", _every),
    "check-2": Key("how often a share of the data is checked", "check-2=1d", _every),
    "check-3": Key("how often all data is checked", "check-3=4w", _every),
    "percent": Key("the share that a check of level 2 reads", "percent=5%", _percent(100)),
    "prune": Key("how often the vault is pruned", "prune=1d", _every),
    "tests": Key("how often a machine tests a restore", "tests=1w", _every),
    "checkers": Key("machines that check and prune, each the whole vault", "checkers=1", _number(1, 1e6)),
    "provider": Key("whose prices", "provider=azure", _word),
    "region": Key("the region of the store", "region=northeurope", _word),
    "redundancy": Key("LRS, ZRS or GRS", "redundancy=ZRS", _word),
    "tier": Key("hot, cool or cold", "tier=cool", _word),
    "leaves": Key("whether machines are outside the store's region", "leaves=no", _yes),
}
_EVERY = {"check-1": "check_1", "check-2": "check_2", "check-3": "check_3", "prune": "prunes", "tests": "tests"}
_KEEPS = ("daily", "weekly", "monthly", "yearly")
_PLACE = ("region", "redundancy", "tier", "leaves")


def parse(texts: Sequence[str]) -> dict[str, Value]:
    """Changes, from texts of one or several `KEY=VALUE`. Raises UsageError, which names what is wrong."""
    found: dict[str, Value] = {}
    for text in (word for one in texts for word in one.split()):
        name, equals, value = text.partition("=")
        name = name.lower().replace("_", "-")
        key = KEYS.get(name)
        if key is None:
            near = get_close_matches(name, KEYS, 1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise UsageError(f"--what-if does not know {name[:40]!r}", f"{meant}it knows {', '.join(KEYS)}")
        if not equals or not value:
            raise UsageError(f"--what-if {name} has no value", f"write e.g. {key.example}")
        if name in found:
            raise UsageError(f"--what-if {name} is given twice", "leave one out")
        try:
            found[name] = key.read(value)
        except ValueError as e:
            raise UsageError(f"--what-if {name}={value[:40]}: {e}", f"{key.meaning}; e.g. {key.example}") from None
    if "size" in found and "grow" in found:
        raise UsageError("--what-if takes size or grow, not both", "size is of a vault that does not exist yet")
    for name in ("files", "compress"):
        if name in found and "size" not in found:
            raise UsageError(f"--what-if {name} needs a size", "e.g. size=50GB files=10^6; for a vault: grow=1.5")
    return found


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A vault as the model knows it: by a few numbers (`size`, `files` of a machine), and where it is.

    `points` of an item are the newest ones; None: as the policy says. `leaves`: what is read leaves the region.
    """

    machines: float = 1
    items: float = 1
    size: float
    files: float
    ratio: float = 0.7
    points: float | None = None
    habits: Habits
    provider: str = "azure"
    place: Place

    def shape(self) -> Shape:
        """The numbers of the vault, by the model alone."""
        return planned(
            machines=self.machines, items=self.items, size=self.size, files=self.files, ratio=self.ratio,
            habits=self.habits, points=self.points,
        )  # fmt: skip


def changed(case: Case, changes: dict[str, Value]) -> Case:
    """The case after the changes."""
    direct: dict[str, Any] = {
        key: changes[key] for key in ("machines", "items", "points", "provider") if key in changes
    }
    if "size" in changes:
        direct["size"] = changes["size"]
        direct["files"] = changes.get("files", max(float(changes["size"]) // 50_000, 1.0))
    if "compress" in changes:
        direct["ratio"] = changes["compress"]
    if "grow" in changes:
        direct["size"], direct["files"] = case.size * float(changes["grow"]), case.files * float(changes["grow"])
    habits: dict[str, Any] = {field: changes[key] for key, field in _EVERY.items() if key in changes}
    if "backups" in changes:
        habits["backups"] = float(changes["backups"]) * MONTH
    if "change" in changes:
        habits["change"] = changes["change"]
    if "percent" in changes:
        habits["percent"] = float(changes["percent"]) * 100
    everyone = case.habits.doers >= case.machines > 1  # each machine does: so will more of them
    if "checkers" in changes:
        habits["doers"] = changes["checkers"]
    elif "machines" in changes and everyone:
        habits["doers"] = changes["machines"]
    keeps = {rule: int(changes[rule]) for rule in _KEEPS if rule in changes}
    if keeps:
        habits["keeps"] = msgspec.structs.replace(case.habits.keeps, **keeps)
        if "points" in changes:
            raise UsageError(
                "--what-if takes points or a policy, not both", f"leave out points, or {', '.join(keeps)}"
            )
        direct["points"] = None
    place = {key: changes[key] for key in _PLACE if key in changes}
    if place and direct.get("provider", case.provider) == FOLDER:
        raise UsageError(
            f"--what-if {next(iter(place))}: the vault is in a folder, which costs nothing",
            "add a provider, e.g. provider=azure",
        )
    return msgspec.structs.replace(
        case, **direct, habits=msgspec.structs.replace(case.habits, **habits),
        place=msgspec.structs.replace(case.place, **place),
    )  # fmt: skip


def scaled(shape: Shape, before: Case, after: Case) -> Shape:
    """The numbers of a real vault after a change: each grows as the model's does."""
    old, new = before.shape(), after.shape()
    values = {}
    for name in shape.__struct_fields__:
        was, will, real = getattr(old, name), getattr(new, name), getattr(shape, name)
        values[name] = real if was == will else real * will / was if was and real else will
    return Shape(**values)
