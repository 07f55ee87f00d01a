"""What a store's place does by itself to keep objects: versions, soft delete, locks."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Whether something is so. What can't be read is unknown, and never guessed."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


class Fact(NamedTuple):
    """One thing that the place does or doesn't. `days` for which it keeps something; `detail` is a phrase."""

    name: str
    state: State
    days: int | None = None
    detail: str = ""


class Lock(NamedTuple):
    """An object, and until when (ns since the epoch, UTC) the store itself refuses to let go of what it holds.

    `until` is None without such a lock; with `fixed`, nobody can shorten it.
    """

    name: str
    until: int | None
    fixed: bool
