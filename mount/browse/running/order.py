"""The order that starts the process of a restore. It holds the master key, and goes through a pipe only."""

from __future__ import annotations

import msgspec


class Order(msgspec.Struct, kw_only=True):
    """What to restore is in the file of the restore `id`. `plan`: look only, and write nothing.

    `also` are addresses of other places of the vault,
    `secrets` variables of the page's environment that the process did not inherit.
    """

    id: str
    address: str
    master: bytes
    plan: bool
    also: tuple[str, ...] = ()
    secrets: dict[str, str] = msgspec.field(default_factory=dict)
