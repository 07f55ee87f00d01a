"""Remembers what this machine has seen in vault.json at each place of a vault: its highest number, admins' keys.

Each change of vault.json counts its number up. The owner of the store can put an older one back, which is genuine
and makes an old passphrase valid again; no key prevents that, but the number reveals it. Anyone who has the vault's
key and may overwrite vault.json can name a key of their own in it, which signs records; the ids reveal that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from catalog.access.settings import private_folder, write_private
from catalog.errors import LocalError
from catalog.format.vaultfile import VaultFile
from catalog.screen.stderr import warn

_MOST = 2**63 - 1


def note_number(state: Path, file: VaultFile, state_id: str) -> None:
    """Remember an authenticated vault.json, and warn of one that is older, or has other admins, than one before.

    Of other admins it warns until a person accepts them: nobody reads the first warning of a nightly run. Admins
    that are known from the vault's first place are no others. `state_id` names the place (place.py).
    """
    noted, highest = _noted(state, state_id), seen_number(state, state_id)
    if file.number < highest:
        warn(
            f"vault.json is number {file.number}, but number {highest} was seen before: an older one was put back, "
            "and an earlier passphrase may open the vault again"
        )
        return
    known, admins = _admins(noted), _ids(file)
    at_first = _admins(_noted(state, file.vault_id.hex()))
    known = known or at_first
    if known and admins not in (known, at_first):
        ids = " ".join(admins) or "none"
        warn(
            f"vault.json has another admin key than before: {ids}; if nobody ran `rpdrive vault admin passphrase`, "
            "somebody else may now sign what is taken away (docs/protect.md); otherwise run "
            f"`rpdrive vault admin accept {ids}` on this machine"
        )
        admins = known
    if file.number > highest or admins != noted.get("admins"):
        _note(state, state_id, file, admins)


def doubt(state: Path, file: VaultFile, state_id: str) -> str:
    """Why a copy should not follow an authenticated vault.json, of which `note_number` warned; "": it should."""
    highest, ids = seen_number(state, state_id), _ids(file)
    if file.number < highest:
        return (
            f"the vault's is number {file.number}, and number {highest} was seen before: "
            "an older one was put back; `rpdrive vault passphrase` makes a newer one"
        )
    known, at_first = known_admins(state, state_id), known_admins(state, file.vault_id.hex())
    if known and ids not in (known, at_first):
        accept = f"`rpdrive vault admin accept {' '.join(ids)}`"
        return f"the vault's has another admin key, which nobody accepted here: {accept}"
    return ""


def seen_number(state: Path, state_id: str) -> int:
    """The highest number of a vault.json that this machine has seen at a place; 0 if it has seen none."""
    number = _noted(state, state_id).get("number")
    return number if type(number) is int and 0 <= number <= _MOST else 0


def note_admins(state: Path, file: VaultFile, state_id: str) -> None:
    """Remember an authenticated vault.json that this machine wrote itself, or whose admins a person accepted."""
    _note(state, state_id, file, _ids(file))


def known_admins(state: Path, state_id: str) -> list[str]:
    """The ids of the admins that this machine saw first, or that a person accepted here; none without a note."""
    return _admins(_noted(state, state_id))


def _note(state: Path, state_id: str, file: VaultFile, admins: list[str]) -> None:
    row = {"number": file.number, "admins": admins}
    try:
        private_folder(state)
        write_private(_path(state, state_id), json.dumps(row).encode() + b"\n")
    except LocalError:
        pass  # it is noted next time


def _ids(file: VaultFile) -> list[str]:
    return sorted(admin.id.hex() for admin in file.admins)


def _admins(noted: dict[str, Any]) -> list[str]:
    known = noted.get("admins")
    return known if isinstance(known, list) and all(isinstance(one, str) for one in known) else []


def _path(state: Path, state_id: str) -> Path:
    return state / f"number-{state_id}.json"


def _noted(state: Path, state_id: str) -> dict[str, Any]:
    try:
        row = json.loads(_path(state, state_id).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}
