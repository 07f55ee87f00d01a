"""Which names an object may have."""

from __future__ import annotations

import re

from catalog.errors import StoreError

# The local store keeps its lock and its unfinished files in this folder of the vault; no object lies in it.
RESERVED = ".rpdrive"

_NAME = re.compile(r"(?!\.{1,2}(?:/|$))[!-.0-~]+(?:/(?!\.{1,2}(?:/|$))[!-.0-~]+)*")


def is_name(name: str) -> bool:
    """Whether an object may be called so (see base.py)."""
    return bool(_NAME.fullmatch(name)) and "\\" not in name and name.split("/", 1)[0] != RESERVED


def checked_name(name: str) -> str:
    """`name`, if an object may be called so; else StoreError.

    Names also come out of the vault itself, so this is what keeps `..` from leaving the vault's folder.
    """
    if not is_name(name):
        raise StoreError(f"not a name for an object: {name!r}")
    return name
