"""Times in hours, and what a vault of the model holds. Everything is immutable and can be hashed.

A place is a block of a pack for ever: pack number * 2 + 0 or 1. A value is the content of a block.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias

L, G = 42, 168  # age of evidence; from hiding to deleting
LAG = 63  # less than this, listings may be behind: (G - L) / 2
WAIT = 72  # from "its blocks are elsewhere" to deleting: more than LAG
SOFT, PARTIAL = 14 * 24, 60 * 24  # what was forgotten stays; so do partial points
STEPS = {"L-": L - 1, "L+": L + 1, "G-": G - 1, "G+": G + 1, "15 d": 360, "60 d": 1440}
BEGIN = 10_000  # the time when a history begins
OLD = 1_000  # long before it

Call: TypeAlias = tuple[Any, ...]  # kind of call, and its arguments
Actor: TypeAlias = Generator[Call, Any, None]  # yields calls, is sent the answers


class Obj(NamedTuple):
    """A pack, whose places are its own, or a carrier, which has those of packs."""

    id: int
    modified: int
    blocks: tuple[tuple[int, int], ...]  # place, value


class Point(NamedTuple):
    """A recovery point. `sent` is not in the record: when the request that stored it was made."""

    id: int
    sequence: int
    refs: tuple[tuple[int, int], ...]  # place, value
    checked: int
    sent: int
    modified: int
    partial: bool = False

    @property
    def is_sound(self) -> bool:
        return self.modified - self.checked <= L


class Places(NamedTuple):
    """A record of places. In rows, `since` 0 is when the record was created, None: alive again, but hidden."""

    number: int = 0
    created: int = OLD
    dead: tuple[tuple[int, int | None], ...] = ()  # place, since
    moved: tuple[tuple[int, int], ...] = ()  # place, carrier
    leaving: tuple[tuple[int, int], ...] = ()  # object, since
    instead: tuple[tuple[int, int], ...] = ()  # lost place, place of a copy

    def since(self, since: int | None) -> int | None:
        return self.created if since == 0 else since


class Ledger(NamedTuple):
    """What was taken from the item. `gone` has the sequence, too: it explains the gap; so does `accepted`."""

    number: int = 0
    forgotten: tuple[tuple[int, int], ...] = ()  # point, until
    gone: tuple[tuple[int, int], ...] = ()  # point, sequence
    held: tuple[int, ...] = ()
    accepted: tuple[tuple[int, int], ...] = ()  # sequence of a point that was given up, since


def home(place: int) -> int:
    """The pack that a place belongs to."""
    return place >> 1


def hidden(record: Places, place: int, *, gaps: bool = True) -> bool:
    """Whether nothing may newly refer to a place: dead once, in an object that leaves, or cut from its pack."""
    if any(p == place for p, _since in record.dead):
        return True
    holders = [p for p, _carrier in record.moved if home(p) == home(place)]
    if holders:
        return gaps and place not in holders
    return any(obj == home(place) for obj, _since in record.leaving)


def holder(record: Places, place: int) -> int:
    """The object where a place is, by this record: its pack, or a carrier."""
    for p, carrier in record.moved:
        if p == place:
            return carrier
    return home(place)
