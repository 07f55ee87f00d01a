"""Vectors of vault.json in a copy of the vault: one that follows, and one that was promoted."""

from __future__ import annotations

import json
from typing import Any

from catalog.format.keys import Keys
from catalog.format.vaultfile import CopyMark, VaultFile
from tests.kit import golden_vault as g

OF = "az://account/Sicherung-Köln"
PROMOTED = 1_767_400_000  # seconds since 1970: 2026-01-03


def copies(made: g.GoldenVault) -> list[dict[str, Any]]:
    rows = []
    for number, promoted in ((1, None), (2, PROMOTED)):
        marked = made.vault_file.changed(number=number, copy=CopyMark(OF, g.CREATED, promoted))
        data = marked.encode(g.KEYS)
        rows.append({"file": data.hex()} | values(data, g.KEYS))
    return rows


def values(data: bytes, keys: Keys) -> dict[str, Any]:
    """What today's code reads from the file."""
    read = VaultFile.decode(data)
    read.verify(keys)
    assert read.copy is not None
    row = {"of": read.copy.of, "since": read.copy.since, "promoted": read.copy.promoted}
    return {"number": read.number, "copy": row, "follows": read.is_following, "mac": json.loads(data)["mac"]}
