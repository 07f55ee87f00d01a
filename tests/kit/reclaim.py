"""The kernel may drop names and contents at any time: checks of what it keeps need it to drop none meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_VMSTAT = Path("/proc/vmstat")
_SIGNS = ("slabs_scanned", "pgsteal", "pginodesteal", "kswapd_inodesteal", "drop_pagecache", "drop_slab")
_ROUNDS = 40


def reclaimed() -> int:
    """A number that grows whenever the kernel reclaims memory, in any process."""
    rows = (line.split() for line in _VMSTAT.read_text().splitlines())
    return sum(int(number) for name, number in rows if name.startswith(_SIGNS))


def undisturbed(check: Callable[[], None]) -> None:
    """Run a check that the kernel must not disturb, once more for each time that it fails and was disturbed."""
    for left in reversed(range(_ROUNDS)):
        before = reclaimed()
        try:
            check()
            return
        except AssertionError:
            if not left or reclaimed() == before:
                raise
