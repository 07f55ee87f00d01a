"""system.json, read as what a stranger wrote: one bad entry costs that entry, and is named.

What is refused is never printed: a name that doesn't fit could act on a terminal or in a command.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_args, get_origin

import msgspec

from catalog.errors import Damaged, NewerFormat
from catalog.inventory.values import FORMAT, SystemState

MOST = 32 << 20  # bytes of system.json: 100,000 packages take 10 MiB
_NAMED = 50  # entries that are named; the rest is counted


class Read(NamedTuple):
    """A system state, and a line for each entry that was refused."""

    state: SystemState
    refused: list[str]


def read_state(data: bytes) -> Read:
    """The state in the bytes of system.json. Raises Damaged if it is none, NewerFormat if it is a later one."""
    if len(data) > MOST:
        raise Damaged(f"system.json has {len(data):,} bytes, more than {MOST:,}")
    try:
        raw = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as e:
        raise Damaged("system.json is not JSON") from e
    if not isinstance(raw, dict) or not isinstance(raw.get("format"), int) or raw["format"] < 1:
        raise Damaged("system.json is not a system state")
    if raw["format"] > FORMAT:
        raise NewerFormat(f"system.json has the format {raw['format']}, and this rpdrive reads {FORMAT}")
    return checked(raw)


def checked(raw: dict[str, Any]) -> Read:
    """The state in decoded JSON."""
    refused = _Refused()
    state = _struct(SystemState, raw, "", refused)
    return Read(state, refused.lines())


class _Refused:
    """Where entries were refused. Places are made of our own field names and of numbers."""

    def __init__(self) -> None:
        self._places: list[str] = []
        self._count = 0

    def add(self, place: str) -> None:
        self._count += 1
        if self._count <= _NAMED:
            self._places.append(place)

    def lines(self) -> list[str]:
        lines = [f"{place} in system.json has no value that can be used: left out" for place in self._places]
        if self._count > _NAMED:
            lines.append(f"{self._count - _NAMED:,} more values in system.json were left out")
        return lines


def _struct(kind: type[Any], raw: Any, place: str, refused: _Refused) -> Any:
    """A value of a struct. Raises ValidationError if a field that it needs can't be used."""
    if not isinstance(raw, dict):
        raise msgspec.ValidationError(place)
    given: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.name not in raw:
            if field.required:
                raise msgspec.ValidationError(place)
            continue
        here = f"{place}.{field.name}" if place else field.name
        try:
            given[field.name] = _value(field.type, raw[field.name], here, refused)
        except msgspec.ValidationError:
            if field.required:
                raise
            refused.add(here)
    return kind(**given)


def _value(kind: Any, raw: Any, place: str, refused: _Refused) -> Any:
    origin = get_origin(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(kind, raw, place, refused)
    if origin is list and isinstance(raw, list):
        return _list(get_args(kind)[0], raw, place, refused)
    if origin is dict and isinstance(raw, dict):
        found: dict[Any, Any] = {}
        name, value = get_args(kind)
        for n, (key, one) in enumerate(raw.items()):
            try:
                found[msgspec.convert(key, name)] = msgspec.convert(one, value)
            except msgspec.ValidationError:
                refused.add(f"{place}[{n}]")
        return found
    return msgspec.convert(raw, kind)


def _list(kind: Any, raw: list[Any], place: str, refused: _Refused) -> list[Any]:
    found: list[Any] = []
    for n, one in enumerate(raw):
        try:
            found.append(_value(kind, one, f"{place}[{n}]", refused))
        except msgspec.ValidationError:
            refused.add(f"{place}[{n}]")
    return found
