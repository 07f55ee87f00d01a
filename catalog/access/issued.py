"""Notes that this machine has issued vault credentials. Making them needs no key, so the vault can't record it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import msgspec

from catalog.access.settings import private_folder, write_private
from catalog.errors import LocalError

_MOST = 100  # notes of a vault
_NAMED = re.compile(r"issued-([0-9a-f]{32})\.json")


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials that were issued at `time` until `expires` (ns since the epoch, UTC)."""

    time: int
    role: str
    expires: int
    locks: bool = False


def note_issued(state: Path, vault_id: bytes, role: str, expires: int, *, locks: bool) -> None:
    """Note credentials that were just issued. What can't be noted stops nobody."""
    one = Issued(time=time.time_ns(), role=role, expires=expires, locks=locks)
    try:
        private_folder(state)
        rows = [*issued(state, vault_id.hex()), one][-_MOST:]
        write_private(_path(state, vault_id.hex()), msgspec.json.encode(rows) + b"\n")
    except LocalError:
        pass


def issued(state: Path, vault: str) -> list[Issued]:
    """The notes of a vault (its id in hex), oldest first; none if they can't be read."""
    try:
        return msgspec.json.decode(_path(state, vault).read_bytes(), type=list[Issued])
    except (OSError, ValueError, RecursionError):
        return []


def issued_vaults(state: Path) -> list[str]:
    """The ids (hex) of the vaults that there are notes of."""
    try:
        found = (_NAMED.fullmatch(entry.name) for entry in state.iterdir())
        return sorted(m[1] for m in found if m)
    except OSError:
        return []


def _path(state: Path, vault: str) -> Path:
    return state / f"issued-{vault}.json"
