"""Which names an object may have."""

from __future__ import annotations

import re

from catalog.errors import StoreError

# The local store keeps its lock and its unfinished files in this folder of the vault; no object lies in it.
RESERVED = ".rpdrive"

_NAME = re.compile(r"(?!\.{1,2}(?:/|$))[!-.0-~]+(?:/(?!\.{1,2}(?:/|$))[!-.0-~]+)*")


def checked_name(name: str) -> str:
    """`name`, if an object may be called so (see base.py); else StoreError.

    Names also come out of the vault itself, so this is what keeps `..` from leaving the vault's folder.
    """
    if not _NAME.fullmatch(name) or "\\" in name or name.split("/", 1)[0] == RESERVED:
        raise StoreError(f"not a name for an object: {name!r}")
    return name
