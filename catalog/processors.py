"""The number of processors that this process may use."""

from __future__ import annotations

import os


def usable_processors() -> int:
    """The number of processors in this process's affinity mask, or in the machine where there is no such mask."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
