"""Remembers what this machine has seen in vault.json of each vault: the highest number, and the keys of admins.

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


def note_number(state: Path, file: VaultFile) -> None:
    """Remember an authenticated vault.json, and warn of one that is older, or has other admins, than one before."""
    noted = _noted(state, file)
    highest = noted.get("number")
    if type(highest) is not int or not 0 <= highest <= _MOST:
        highest = 0
    if file.number < highest:
        warn(
            f"vault.json is number {file.number}, but number {highest} was seen before: an older one was put back, "
            "and an earlier passphrase may open the vault again"
        )
    elif file.number > highest:
        known, admins = noted.get("admins"), _ids(file)
        if isinstance(known, list) and known and known != admins:
            warn(
                f"vault.json has another admin key than before: {', '.join(admins) or 'none'}; if nobody ran "
                "`rpdrive vault admin passphrase`, somebody else may now sign what is taken away (docs/protect.md)"
            )
        note_admins(state, file)


def note_admins(state: Path, file: VaultFile) -> None:
    """Remember an authenticated vault.json that this machine wrote itself, or has warned of."""
    row = {"number": file.number, "admins": _ids(file)}
    try:
        private_folder(state)
        write_private(_path(state, file), json.dumps(row).encode() + b"\n")
    except LocalError:
        pass  # it is noted next time


def _ids(file: VaultFile) -> list[str]:
    return sorted(admin.id.hex() for admin in file.admins)


def _path(state: Path, file: VaultFile) -> Path:
    return state / f"number-{file.vault_id.hex()}.json"


def _noted(state: Path, file: VaultFile) -> dict[str, Any]:
    try:
        row = json.loads(_path(state, file).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}
