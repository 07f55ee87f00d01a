"""Valid object names."""

from __future__ import annotations

import re

from catalog.errors import StoreError

# The local store keeps its lock and its unfinished files in this folder of the vault, which has no objects.
RESERVED = ".rpdrive"

MAX_LENGTH = 1024  # characters: Azure's maximum
MAX_PARTS = 16  # no name of rpdrive's has more than five

_NAME = re.compile(r"(?!\.{1,2}(?:/|$))[!-.0-~]+(?:/(?!\.{1,2}(?:/|$))[!-.0-~]+)*")


def is_name(name: str) -> bool:
    """Whether this is a valid object name (see base.py)."""
    if len(name) > MAX_LENGTH or name.count("/") >= MAX_PARTS:
        return False
    return bool(_NAME.fullmatch(name)) and "\\" not in name and name.split("/", 1)[0] != RESERVED


def checked_name(name: str) -> str:
    """Return `name`. Raises StoreError if it is not a valid object name.

    Some names come from the vault's own contents: this check keeps `..` from leaving the vault's folder.
    """
    if not is_name(name):
        raise StoreError(f"{name[:MAX_LENGTH]!r} is not a valid object name")
    return name
