"""Deadlines that also pass while the machine is asleep."""

from __future__ import annotations

import time
from typing import NamedTuple

from catalog.errors import TooLate

_BOOT: int | None = getattr(time, "CLOCK_BOOTTIME", None)  # Linux


def steady() -> float:
    """Seconds by a clock that nobody sets; where the system has one, it also counts the time asleep."""
    return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)


class Deadline(NamedTuple):
    """A moment by two clocks of this machine: `steady` (seconds) and the wall clock (ns since the epoch).

    It has passed as soon as one of them says so: the first may stand still while the machine is asleep, and the
    second may be set back.
    """

    steady: float
    wall: int

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline `seconds` from now."""
        return cls(steady() + seconds, time.time_ns() + int(seconds * 1e9))

    def passed(self) -> bool:
        return steady() > self.steady or time.time_ns() > self.wall


def check(until: Deadline | None, name: str) -> None:
    """Raise TooLate if the deadline for the creation of the object `name` has passed. None: there is none."""
    if until is not None and until.passed():
        raise TooLate(f"{name} was not stored: the time allowed for it is over")
