"""Remembers the highest number of vault.json that this machine has seen of each vault.

Each change of the passphrase counts the number up. The owner of the store can put an older vault.json back, which
is genuine and makes an old passphrase valid again; no key prevents that, but the number reveals it.
"""

from __future__ import annotations

import json
from pathlib import Path

from catalog.access.settings import private_folder, write_private
from catalog.errors import LocalError
from catalog.format.vaultfile import VaultFile
from catalog.screen.stderr import warn

_MOST = 2**63 - 1


def note_number(state: Path, file: VaultFile) -> None:
    """Remember the number of an authenticated vault.json, and warn if a higher one was seen before."""
    path = state / f"number-{file.vault_id.hex()}.json"
    try:
        highest = int(json.loads(path.read_bytes())["number"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        highest = 0
    if not 0 <= highest <= _MOST:
        highest = 0
    if file.number < highest:
        warn(
            f"vault.json is number {file.number}, but number {highest} was seen before: an older one was put back, "
            "and an earlier passphrase may open the vault again"
        )
    elif file.number > highest:
        try:
            private_folder(state)
            write_private(path, json.dumps({"number": file.number}).encode() + b"\n")
        except LocalError:
            pass  # it is noted next time
