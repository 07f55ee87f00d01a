"""Small files of the tick in the state folder: when it last ran, that jobs get on, and that one runs at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from catalog.errors import LocalError
from catalog.systems.this import SYSTEM

ASLEEP = 12 * 60 * 10**9  # ns between two ticks from which on the machine was off or asleep
_FILE, _BEAT = "tick.json", "due.beat"
_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class Marks(msgspec.Struct, frozen=True):
    """When the tick last ran (ns), in which start of the machine, and when that was started or woken."""

    last: int = 0
    boot: str = ""
    resumed: int = 0

    @classmethod
    def read(cls, state: Path) -> Marks:
        """What the last tick left; nothing known if that can't be read."""
        try:
            return msgspec.json.decode((state / _FILE).read_bytes(), type=cls)
        except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return cls()

    def ticked(self, now: int, boot: str) -> Marks:
        """The marks of a tick at `now`. The first one ever says nothing about sleep."""
        woke = self.last and (boot != self.boot or not 0 <= now - self.last <= ASLEEP)
        return Marks(now, boot, now if woke else self.resumed)

    def write(self, state: Path) -> None:
        """Keep them. Raises nothing: the next tick does without."""
        path = state / f"{_FILE}.{os.getpid()}.tmp"
        with suppress(OSError):
            try:
                path.write_bytes(msgspec.json.encode(self))
                path.replace(state / _FILE)
            finally:
                path.unlink(missing_ok=True)


def beat(state: Path) -> None:
    """Mark that the jobs get on."""
    with suppress(OSError):
        (state / _BEAT).touch(mode=0o600)


def last_beat(state: Path) -> float:
    """When the jobs last got on (seconds of time.time()); 0 if that is not known."""
    try:
        return (state / _BEAT).stat().st_mtime
    except OSError:
        return 0.0


@contextmanager
def single(path: Path) -> Iterator[bool]:
    """Whether this process alone is here: until it leaves, or ends, no other one is. Raises LocalError."""
    descriptor = -1
    try:
        descriptor = os.open(path, _OPEN, 0o600)
        is_alone = SYSTEM.try_lock(descriptor)
    except OSError as e:
        if descriptor >= 0:
            os.close(descriptor)
        raise LocalError(f"{path} can't be locked: {e.strerror}", "check its disk and its permissions") from e
    try:
        yield is_alone
    finally:
        os.close(descriptor)
