"""What a transfer came to."""

from __future__ import annotations

from typing import NamedTuple

LISTED = 1000  # entries of each list; the counts go on


class Wanted(NamedTuple):
    """An object to copy: its name, its size in bytes, and the BLAKE3 hash of them (32 bytes), if it is known."""

    name: str
    size: int
    hash: bytes | None = None


class Fault(NamedTuple):
    """An object that was not copied, and why, in words. `size` is what was wanted, in bytes."""

    name: str
    size: int
    reason: str


class Conflict(NamedTuple):
    """An object of the target that is another than the source's. It was left alone.

    `size` and `there` are the bytes at the source and at the target.
    """

    name: str
    size: int
    there: int
    reason: str


class Outcome:
    """Exact counts, and lists of at most LISTED entries. Several transfers may fill one, one after the other.

    `copied` and `copied_bytes`: what was copied. `present`: what the target had already. `gone`: names that the
    source no longer has. `conflicts`: what the target has otherwise. `damaged`: what can't be read, has other bytes
    than its hash says, or can't be stored.
    """

    def __init__(self) -> None:
        self.copied = self.copied_bytes = self.present = 0
        self.gone_count = self.conflict_count = self.damaged_count = 0
        self.gone: list[str] = []
        self.conflicts: list[Conflict] = []
        self.damaged: list[Fault] = []

    @property
    def is_whole(self) -> bool:
        """Whether the target has every object that was wanted."""
        return not (self.gone_count or self.conflict_count or self.damaged_count)

    def add_gone(self, name: str) -> None:
        self.gone_count += 1
        if len(self.gone) < LISTED:
            self.gone.append(name)

    def add_conflict(self, conflict: Conflict) -> None:
        self.conflict_count += 1
        if len(self.conflicts) < LISTED:
            self.conflicts.append(conflict)

    def add_damaged(self, fault: Fault) -> None:
        self.damaged_count += 1
        if len(self.damaged) < LISTED:
            self.damaged.append(fault)
