"""Adding targets to `notify.toml` and removing them, without touching the rest of what a person wrote there.

A table of a target is added at the end of the file, and removed from its heading to the next one. The result is
parsed again, and written only if it says exactly what it should.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalog.access.settings import write_private
from catalog.access.trusted import read_trusted
from catalog.errors import LocalError, UsageError
from catalog.notify.config import FILE, SECRETS, parse
from catalog.notify.targets import check_name, is_name

_LONGEST = 256 << 10  # bytes
_HEADING = re.compile(r"\s*\[")
Value = str | int | bool | list[str]


def set_target(folder: Path, name: str, public: Mapping[str, Value], private: Mapping[str, str]) -> None:
    """Write a target into the two files, in place of one of the same name. Raises UsageError and LocalError.

    The secrets are written first: a target without them would be faulty, secrets without a target are only said.
    """
    check_name(name)
    main, secrets = _read(folder / FILE), _read(folder / SECRETS, secret=True)
    new = _with_table(main, "targets", name, public, FILE)
    new_secrets = _with_table(secrets, "", name, private, SECRETS)
    before = parse(tomllib.loads(main), tomllib.loads(secrets)).faults
    for fault in parse(tomllib.loads(new), tomllib.loads(new_secrets)).faults:
        if fault not in before:
            raise UsageError(fault.removeprefix(f"{FILE}: targets.{name}."), "see docs/notify.md")
    if new_secrets != secrets:
        write_private(folder / SECRETS, new_secrets.encode())
    write_private(folder / FILE, new.encode())


def remove_target(folder: Path, name: str) -> bool:
    """Remove a target from the two files. False if there was none. Raises UsageError and LocalError."""
    if not is_name(name):
        return False
    main, secrets = _read(folder / FILE), _read(folder / SECRETS, secret=True)
    new = _with_table(main, "targets", name, {}, FILE)
    new_secrets = _with_table(secrets, "", name, {}, SECRETS)
    if new != main:
        write_private(folder / FILE, new.encode())
    if new_secrets != secrets:
        write_private(folder / SECRETS, new_secrets.encode())
    return new != main


def _read(path: Path, *, secret: bool = False) -> str:
    data = read_trusted(path, _LONGEST, secret=secret) or b""
    try:
        text = data.decode()
        tomllib.loads(text)
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is not TOML, so it is left as it is", "mend it first") from None
    return text


def _with_table(text: str, above: str, name: str, row: Mapping[str, Value], file: str) -> str:
    """The text with this table in place of one of the same name; with an empty row, without it."""
    document: dict[str, Any] = tomllib.loads(text)
    tables = document.get(above, {}) if above else document
    expected = {key: value for key, value in tables.items() if key != name} | ({name: dict(row)} if row else {})
    dotted = f"{above}.{name}" if above else name
    kept = _without(text, dotted) if name in tables else text
    if row:
        lines = [f"[{dotted}]", *(f"{key} = {_toml(value)}" for key, value in row.items())]
        kept = f"{kept.rstrip()}\n\n" if kept.strip() else ""
        kept += "\n".join(lines) + "\n"
    want = document | ({above: expected} if expected or above in document else {}) if above else expected
    if tomllib.loads(kept).get(above, {}) != want.get(above, {}) or _rest(kept, above) != _rest_of(want, above):
        raise LocalError(f"{file} can't be changed without disturbing the rest of it", "change it by hand")
    return kept


def _rest(text: str, above: str) -> dict[str, Any]:
    return _rest_of(tomllib.loads(text), above)


def _rest_of(document: Mapping[str, Any], above: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != above}


def _without(text: str, dotted: str) -> str:
    """The text without the lines from the heading of a table, and of tables in it, to the next heading."""
    heading = re.compile(rf"\s*\[\s*{re.escape(dotted)}\s*(?:\.[^\]]*)?\]\s*(?:#.*)?")
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        if _HEADING.match(line):
            inside = heading.fullmatch(line.rstrip("\r\n")) is not None
        if not inside:
            kept.append(line)
    return "".join(kept)


def _toml(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    # TOML's basic strings have JSON's escapes; beyond those of JSON, DEL must be one.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
