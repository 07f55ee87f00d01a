"""Which place of a vault an address is, and what its files in the state folder are called.

One vault can be at several places: a copy has the same id. What this machine has seen at a place is compared with
what is there later, and never with another place, which may be behind and has lost nothing. So each place has files
of its own. The first place of a vault has the names that earlier versions used, for ever; another one's names end
with a digest of its address.

    places-<vault id>.json    {"first": address, "others": {suffix: address}}
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from catalog.access.settings import private_folder, write_private
from catalog.errors import LocalError, UsageError
from catalog.store.address import local_folder

_DIGITS = 8
_MOST = 100  # places of a vault


class VaultPlaces:
    """The places of one vault that this machine has opened."""

    def __init__(self, state: Path, vault_id: bytes) -> None:
        self._state, self._id = state, vault_id.hex()
        self._path = state / f"places-{self._id}.json"

    def state_id(self, address: str, known: Iterable[str], *, following: bool) -> str:
        """The name of a place in files of the state folder: the vault's id, with a suffix if it is not the first.

        `known` are the addresses under which this machine knew the vault before, the first one first: an earlier
        version wrote its files about that. A copy that follows is never the first place.
        """
        row = self._read()
        first, others = row["first"], row["others"]
        suffix = hashlib.sha256(_spelt(address).encode(errors="surrogateescape")).hexdigest()[:_DIGITS]
        if first is None and suffix not in others:
            first = next(iter(known), None if following else address)
        if first is not None and _spelt(first) == _spelt(address):
            self._write(row | {"first": first})
            return self._id
        if len(others) < _MOST:
            others = {**others, suffix: address}
        self._write({"first": first, "others": others})
        return f"{self._id}-{suffix}"

    def address_of(self, state_id: str) -> str | None:
        """The address of a place by its name in files; None if it is not known."""
        row = self._read()
        suffix = state_id.removeprefix(self._id).removeprefix("-")
        found: str | None = row["others"].get(suffix) if suffix else row["first"]
        return found

    def forget_first(self, address: str) -> None:
        """Let another place be the first one from now on, if this address is: its files stay. Raises LocalError."""
        row = self._read()
        if row["first"] is not None and _spelt(row["first"]) == _spelt(address):
            self._write(row | {"first": None})

    def _read(self) -> dict[str, Any]:
        try:
            row = json.loads(self._path.read_bytes())
            first, others = row.get("first"), row.get("others", {})
            if not isinstance(first, str | None) or not all(isinstance(at, str) for at in others.values()):
                raise ValueError("not addresses")
            return {"first": first, "others": dict(others)}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {"first": None, "others": {}}

    def _write(self, row: dict[str, Any]) -> None:
        if row == self._read():
            return
        try:
            private_folder(self._state)
            write_private(self._path, json.dumps(row).encode() + b"\n")
        except LocalError:
            pass  # it is noted next time


def _spelt(address: str) -> str:
    """An address in one spelling: of a folder its path without symlinks."""
    try:
        folder = local_folder(address)
    except UsageError:
        folder = None
    return address if folder is None else os.path.realpath(folder)
