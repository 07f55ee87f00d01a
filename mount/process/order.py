"""The order that a command sends to the process behind a drive. Imports little: both must start quickly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

from catalog.throttle.given import Given

if TYPE_CHECKING:
    from catalog.vault import Vault


class Order(msgspec.Struct, kw_only=True):
    """The recovery points to mount, the options, the keys of the vault, and the credentials of its store.

    `vault_file` is the text of vault.json; `requests` and `received` (bytes) are the command's traffic so far.
    `folder` identifies the folder at the mount point, see Places.hold. Sizes are in bytes; `read_timeout`, `idle`
    and `total` (see lifetime.py) in seconds. `disk`: on Windows, show a letter as a local disk. `secrets` are
    variables of the command's environment, which the process did not inherit. `limits` are those
    of the traffic that the user gave. `also` are addresses of other places of the vault; `away` says why the first
    one is not to be asked at once, as the command had no answer: "" if it had.
    """

    address: str
    vault_file: str
    master: bytes
    mount_point: bytes
    folder: tuple[int, int] | None = None
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
    secrets: dict[str, str] = msgspec.field(default_factory=dict)
    limits: Given = Given()
    also: tuple[str, ...] = ()
    away: str = ""
    requests: int = 0
    received: int = 0

    @classmethod
    def vault_text(cls, vault: Vault) -> str:
        """The text of an open vault's vault.json."""
        parsed = vault.file.parsed
        return json.dumps(parsed) if parsed is not None else vault.file.encode(vault.keys).decode()
