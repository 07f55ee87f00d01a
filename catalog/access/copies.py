"""The copies of vaults that this machine knows: config/copies.json, {address: {"id": hex, "of": address}}.

They are no known vaults: one of those is the default of --vault, and a copy is read only if somebody names it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from catalog.access.settings import Settings, write_private
from catalog.errors import LocalError

_LONGEST = 1 << 20  # bytes of the file


class KnownCopy(NamedTuple):
    """A copy of the vault with an id. `of` is the address that it was copied from."""

    vault_id: bytes
    of: str


class KnownCopies:
    """The list of known copies. Nothing is read before it is used."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def _path(self) -> Path:
        return self._settings.where("config") / "copies.json"

    def all(self) -> dict[str, KnownCopy]:
        """Copies by address. Raises LocalError."""
        path = self._path
        try:
            with path.open("rb") as file:
                text = file.read(_LONGEST + 1)
        except FileNotFoundError:
            return {}
        except OSError as e:
            raise LocalError(
                f"the list of known copies {path} can't be read: {e.strerror}", "check its permissions"
            ) from e
        try:
            if len(text) > _LONGEST:
                raise ValueError("it is too long")
            rows = json.loads(text)
            return {str(at): KnownCopy(bytes.fromhex(row["id"]), str(row["of"])) for at, row in rows.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise LocalError(f"the list of known copies {path} is malformed", "delete it") from e

    def of(self, vault_id: bytes) -> list[str]:
        """The addresses of the known copies of a vault. Raises LocalError."""
        return [address for address, copy in self.all().items() if copy.vault_id == vault_id]

    def remember(self, address: str, vault_id: bytes, of: str) -> None:
        """Add a copy, or change what is known of it. Raises LocalError."""
        known = self.all()
        new = known | {address: KnownCopy(vault_id, of)}
        if new != known:
            self._write(new)

    def forget(self, address: str) -> bool:
        """Remove a copy. False if it was not known. Raises LocalError."""
        known = self.all()
        if known.pop(address, None) is None:
            return False
        self._write(known)
        return True

    def _write(self, known: dict[str, KnownCopy]) -> None:
        rows = {address: {"id": copy.vault_id.hex(), "of": copy.of} for address, copy in known.items()}
        write_private(self._settings.config / "copies.json", json.dumps(rows, indent=2).encode() + b"\n")
