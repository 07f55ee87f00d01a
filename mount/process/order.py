"""What a command asks of the process behind a drive. It imports little: both have to be quick to start."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from catalog.vault import Vault


class Order(msgspec.Struct, kw_only=True):
    """What to mount, and the keys to it: what the command hands to the process behind the drive.

    `vault_file` is vault.json; `requests` and `received` (bytes) are what it took to get this far. Sizes in
    bytes; `read_timeout`, `idle` and `total` (when the drive closes by itself) in seconds. `disk`: on Windows,
    a letter is one of a local disk.
    """

    address: str
    vault_file: str
    master: bytes
    mount_point: bytes
    point: str | None = None
    machine: str | None = None
    item: str | None = None
    allow_other: bool = False
    driver: str = "auto"
    disk: bool = False
    cache_size: int | None = None
    read_timeout: float = 60.0
    idle: float | None = None
    total: float | None = None
    requests: int = 0
    received: int = 0

    @classmethod
    def vault_text(cls, vault: Vault) -> str:
        parsed = vault.file.parsed
        return json.dumps(parsed) if parsed is not None else vault.file.encode(vault.keys).decode()
