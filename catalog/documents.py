"""Documents of settings of the vault, machines and items, as TOML: what `export` prints and `import` reads.

    [vault]
    daily = "30 days"

    [[machine]]
    id = "<32 hex digits>"
    name = "srv01"
    hourly = "48 hours"

    [[item]]
    id = "<32 hex digits>"
    machine = "srv01"
    name = "home"
    …

Reading is strict: an unknown key, a value of another type or a level that is there twice is an error that names it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from catalog.errors import LocalError, UsageError

LONGEST = 16 << 20  # bytes of a file
_ID = re.compile("[0-9a-f]{32}")
_HEAD = ("id", "machine", "name")
_BARE = re.compile("[A-Za-z0-9_-]+")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


class Entry(NamedTuple):
    """What a document says of one level: `vault`, `machine` or `item`. `id` is empty if it is not given.

    `machine` is the name or id of an item's machine. `where` names the entry in messages.
    """

    what: str
    id: bytes
    machine: str
    name: str
    fields: Mapping[str, Any]
    where: str


def read_toml(file: Path, longest: int = LONGEST) -> dict[str, Any]:
    """The tables of a TOML file of at most so many bytes. Raises LocalError, and UsageError if it is not TOML."""
    try:
        with file.open("rb") as f:
            data = f.read(longest + 1)
    except OSError as e:
        raise LocalError(f"the file {file} can't be read: {e.strerror}", "check its path and permissions") from e
    try:
        if len(data) > longest:
            raise ValueError("it is too long")
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as e:
        raise UsageError(f"the file {file} is not TOML: {e}", "an example is in the documentation") from e


def head_of(what: str, level: bytes, name: str, machine: str) -> dict[str, str]:
    """What names a level (`vault`, `machine` or `item`, its id and name) in a document; `machine`: of an item."""
    match what:
        case "vault":
            return {}
        case "machine":
            return {"id": level.hex(), "name": name}
        case _:
            return {"id": level.hex(), "machine": machine, "name": name}


def entries(file: Path, fields: Collection[str]) -> list[Entry]:
    """The entries of a document, the widest level first. `fields` are those that a level may have.

    Raises LocalError and UsageError.
    """
    found: list[Entry] = []
    for key, value in read_toml(file).items():
        if key == "vault":
            found.append(_entry(file, key, "[vault]", value, fields))
        elif key in ("machine", "item"):
            if not isinstance(value, list):
                raise UsageError(f"{key} in {file} is no array of tables", f"begin each with [[{key}]]")
            found += [_entry(file, key, f"[[{key}]] {n}", row, fields) for n, row in enumerate(value, 1)]
        else:
            raise UsageError(
                f"{file} has an unknown table or key {key[:100]!r}", "known are [vault], [[machine]] and [[item]]"
            )
    order = ("vault", "machine", "item")
    return sorted(found, key=lambda entry: order.index(entry.what))


def _entry(file: Path, what: str, where: str, row: object, fields: Collection[str]) -> Entry:
    where = f"{where} of {file}"
    if not isinstance(row, dict):
        raise UsageError(f"{where} is no table", "begin it with its name in brackets")
    head = {"vault": (), "machine": ("id", "name"), "item": _HEAD}[what]
    for name in row:
        if name not in fields and name not in head:
            raise UsageError(
                f"{where} has an unknown field {name[:100]!r}", f"fields are {', '.join([*head, *fields])}"
            )
    texts = {name: row.get(name, "") for name in _HEAD}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise UsageError(f"{name} in {where} is no text", "put it in quotes")
    if texts["id"] and not _ID.fullmatch(texts["id"]):
        raise UsageError(f"id in {where} is not 32 hex digits", "leave it out, or copy it from an export")
    if what != "vault" and not texts["id"] and not texts["name"]:
        raise UsageError(f"{where} has neither id nor name", f"say which {what} it is")
    own = {name: value for name, value in row.items() if name in fields}
    return Entry(what, bytes.fromhex(texts["id"]), texts["machine"], texts["name"], own, where)


def document(levels: Iterable[tuple[str, Mapping[str, str], Mapping[str, Any]]]) -> str:
    """A document of levels: what each is, its head (id, name, machine), and its fields."""
    parts = []
    for what, head, fields in levels:
        lines = ["[vault]" if what == "vault" else f"[[{what}]]"]
        lines += [f"{_key(name)} = {value_text(value)}" for name, value in {**head, **fields}.items()]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def value_text(value: object) -> str:
    """A text, boolean, list or map of such as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(_character(c) for c in value) + '"'
    if isinstance(value, list):
        if len(value) > 1:
            return "[\n" + "".join(f"    {value_text(one)},\n" for one in value) + "]"
        return "[" + ", ".join(value_text(one) for one in value) + "]"
    assert isinstance(value, dict)
    return "{ " + ", ".join(f"{_key(name)} = {value_text(one)}" for name, one in value.items()) + " }"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else value_text(name)


def _character(character: str) -> str:
    found = _ESCAPES.get(character)
    if found is not None:
        return found
    code = ord(character)
    return f"\\u{code:04x}" if code < 32 or 127 <= code < 160 or 0xD800 <= code < 0xE000 else character
