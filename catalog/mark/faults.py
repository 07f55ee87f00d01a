"""What a mark finds wrong in the trees of recovery points."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from catalog.format.records import PointName

MOST_PATHS = 20  # faults below one page that are named, of those that stop deletions and of the others
MOST_POINTS = 1000  # of one fault that are named


class FaultKind(StrEnum):
    """What is wrong. The words are stable: `--json` has them."""

    POINT = "unreadable point"  # its record
    PAGE = "unreadable page"
    ENTRY = "malformed entry"
    STRANGER = "foreign pack"  # a page refers to a series that the machine's record does not name
    VALUE = "unreadable value"  # of an extended attribute, or of Windows
    OUTSIDE = "place outside of its pack"
    LOST = "missing pack"
    TOTALS = "wrong totals"


# After these it is not known what is live: nothing may be deleted.
BLINDING = frozenset({FaultKind.POINT, FaultKind.PAGE, FaultKind.ENTRY, FaultKind.STRANGER})


class Fault(NamedTuple):
    """One fault, and where people meet it.

    `pack` and `offset` are those of the tree block that can't be read or has the fault. `path` is the folder or
    file in the points, without a leading slash. `points` are those that have it, at most 1,000. A fault that a
    record of places acknowledges (`broken`) stops nothing.
    """

    kind: FaultKind
    path: bytes
    reason: str
    points: tuple[PointName, ...]
    pack: bytes = b""
    offset: int = 0
    acknowledged: bool = False

    @property
    def is_blinding(self) -> bool:
        """Whether it hides what is live, so that nothing may be deleted."""
        return self.kind in BLINDING and not self.acknowledged
