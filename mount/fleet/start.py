"""The order that starts a worker process of `local:N`."""

from __future__ import annotations

import msgspec


class Start(msgspec.Struct, frozen=True):
    """What a worker process gets through its pipe. `secrets` are variables that it did not inherit."""

    scheduler: str
    certificate: str
    private: str
    folder: str
    master: bytes
    admin: bytes
    admin_private: bytes
    secrets: dict[str, str]
