"""Conversions between FILETIME and ns since 1970. [MS-DTYP] 2.3.3: 100 ns since 1601-01-01 00:00 UTC, 64 bits.

FILETIME has a wider range than times in a tree: values beyond that are clamped.
"""

from __future__ import annotations

UNIT = 100  # ns
EPOCH = 11_644_473_600 * 10**7  # 1970-01-01 as FILETIME
LAST = 2**63 - 1  # the greatest FILETIME that Windows accepts
_EARLIEST, _LATEST = -(2**63) + 8, 2**64 - 16  # ns: the first and last multiples of 100 that a tree can hold


def to_filetime(ns: int) -> int:
    """The FILETIME of a time, rounded down; 0 for times before 1601."""
    return max(0, min(ns // UNIT + EPOCH, LAST))


def from_filetime(filetime: int) -> int:
    """ns since 1970 (UTC)."""
    return max(_EARLIEST, min((filetime - EPOCH) * UNIT, _LATEST))
