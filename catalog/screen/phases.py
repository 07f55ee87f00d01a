"""The progress of a job in phases, each of which counts things or bytes: on a terminal, or in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Protocol

from catalog.interruption import check
from catalog.screen.stderr import warn
from catalog.screen.text import safe_text, size_text

_SHOWN_EVERY, _LINE_EVERY = 0.2, 30.0  # s between two reports, on a terminal and elsewhere


class Phase(NamedTuple):
    """What a job does now, e.g. `reading trees`, and how far it is with that. `total` is None if it is not known.

    `unit` is what `done` and `total` count, e.g. `pages`; bytes if it is empty. `more` is said beside it.
    """

    name: str
    done: int = 0
    total: int | None = None
    unit: str = ""
    more: str = ""


class Follower(Protocol):
    """Follows a job. It is called as often as the job likes, from one thread at a time.

    Raises KeyboardInterrupt if an interruption was lost.
    """

    def phase(self, phase: Phase) -> None: ...


class NoFollower:
    """Follows nothing."""

    def phase(self, phase: Phase) -> None:
        check()


class PhaseScreen:
    """A Follower that writes to stderr, and a context manager: one line on a terminal, which is removed at the end.

    Elsewhere a line every 30 s. `clock` (monotonic, seconds) is the system's, but in tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._live = sys.stderr.isatty()
        self._clock = clock
        self._every = _SHOWN_EVERY if self._live else _LINE_EVERY
        self._last = 0.0 if self._live else clock()

    def __enter__(self) -> PhaseScreen:
        return self

    def phase(self, phase: Phase) -> None:
        check()
        now = self._clock()
        if now - self._last < self._every:
            return
        self._last = now
        if self._live:
            self._write(f"\r\x1b[K{safe_text(phase_text(phase))[:78]}")
        else:
            warn(phase_text(phase))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._write("\r\x1b[K")

    @staticmethod
    def _write(text: str) -> None:
        try:
            print(text, end="", file=sys.stderr, flush=True)
        except OSError:
            pass  # the terminal is gone; the job goes on


def phase_text(p: Phase) -> str:
    """A phase as text: `reading trees: 12 of 365 points, 3,400 pages`."""
    amount: Callable[[int], str] = "{:,}".format if p.unit else size_text
    parts = []
    if p.done or p.total:
        of = "" if p.total is None else f" of {amount(p.total)}"
        parts.append(f"{amount(p.done)}{of} {p.unit}".rstrip())
    if p.more:
        parts.append(p.more)
    return f"{p.name}: {', '.join(parts)}" if parts else p.name
