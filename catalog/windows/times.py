"""FILETIME, and ns since 1970. [MS-DTYP] 2.3.3: units of 100 ns since 1601-01-01 00:00 UTC, 64 bits.

FILETIME reaches further than what a tree holds of a time: what is beyond is clamped.
"""

from __future__ import annotations

UNIT = 100  # ns
EPOCH = 11_644_473_600 * 10**7  # 1970-01-01 as FILETIME
LAST = 2**63 - 1  # of FILETIME; Windows takes no greater ones
_EARLIEST, _LATEST = -(2**63) + 8, 2**64 - 16  # ns: the first and last multiples of 100 that a tree holds


def to_filetime(ns: int) -> int:
    """The FILETIME that a time lies in; 0 for one before 1601."""
    return max(0, min(ns // UNIT + EPOCH, LAST))


def from_filetime(filetime: int) -> int:
    """ns since 1970 (UTC)."""
    return max(_EARLIEST, min((filetime - EPOCH) * UNIT, _LATEST))
