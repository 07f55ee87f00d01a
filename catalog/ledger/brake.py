"""The deletion brake: what is so unusual that a person must confirm it before points of an item go."""

from __future__ import annotations

from catalog.format.records import Point
from catalog.screen.text import counted

SHARE = 4  # more than one in so many points of an item is unusual
FEW = 3  # points that may go by policy at once in any case
_CHANGED, _DENSE = 0.6, 0.95  # parts of the bytes that were new, and that they took when stored
_SMALL = 1 << 20  # bytes; of less, overhead would look like contents that can't be compressed


def too_many(going: int, total: int, *, few: int) -> str | None:
    """Why it is unusual that `going` of `total` points of an item go at once; None if it isn't."""
    if going <= few or going * SHARE <= total:
        return None
    return f"{counted(going, 'point')} of {total:,} would go at once, more than a quarter"


def looks_encrypted(newest: Point) -> str | None:
    """Why the newest point of an item may be no good successor of those before it; None if nothing says so.

    Somebody who encrypts the files of a machine changes most of them, to contents that can't be compressed. Its
    next backup must not be what makes the last good points go.
    """
    new, every = newest.new_bytes, newest.totals.bytes
    if newest.previous is None or new < _SMALL or new <= _CHANGED * every or newest.stored_bytes < _DENSE * new:
        return None
    share = min(100, 100 * new // max(every, 1))
    return f"{share}% of the newest point is new and can't be compressed, as if its files had been encrypted"
