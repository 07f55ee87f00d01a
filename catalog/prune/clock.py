"""Whether the store's clock can be relied on: nothing is deleted by one that can't. docs/prune-design.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from catalog.errors import WrongClock
from catalog.screen.text import duration_text, iso_time

T = TypeVar("T")
HOUR = 3600 * 10**9  # ns
APART = HOUR  # by which the store's clock and this machine's may differ
AHEAD = 2 * 10**9  # by which an object may seem younger than the store's time: both are cut to seconds
SOON = 5 * 60 * 10**9  # within this time of its answer, a record that was just stored must have been stored
QUIET = 30 * 24 * HOUR  # without any new object: the clock may have jumped


def check_now(now: int, here: int) -> None:
    """Raise WrongClock if the store's time (ns) is not about that of this machine (ns)."""
    if abs(now - here) > APART:
        apart, which = duration_text(abs(now - here) / 1e9), "ahead of" if now > here else "behind"
        raise WrongClock(f"the store's clock is {apart} {which} this machine's: it says {iso_time(now)}")


class Seen:
    """The newest of the objects that were listed."""

    def __init__(self) -> None:
        self.newest = 0  # when it was stored (ns)
        self.name: Callable[[], str] = str

    def add(self, rows: Iterable[tuple[T, int]], name_of: Callable[[T], str]) -> None:
        """Add objects, each with its time (ns)."""
        for one, modified in rows:
            if modified > self.newest:
                self.newest, self.name = modified, partial(name_of, one)


def check_listed(seen: Seen, now: int) -> None:
    """Raise WrongClock if an object was stored later than now, by the store's own clock (ns)."""
    if seen.newest > now + AHEAD:
        raise WrongClock(
            f"the store's clock says {iso_time(now)}, and {seen.name()} was stored at {iso_time(seen.newest)}",
            f"{WrongClock.advice}; if they are right, and the vault is a folder, `touch` this file",
        )


def check_stored(modified: int, now: int) -> None:
    """Raise WrongClock if a record that was just stored seems to be of another time (ns)."""
    if abs(modified - now) > SOON:
        raise WrongClock(
            f"the store's clock says {iso_time(now)}, and gave a record of this run the time {iso_time(modified)}"
        )


def check_quiet(newest: int, now: int) -> None:
    """Raise WrongClock if the newest object (ns) is so old that the clock may have jumped ahead."""
    if now - newest > QUIET:
        raise WrongClock(
            f"nothing was stored since {iso_time(newest)}, by the store's clock: it may have jumped ahead",
            "if its time is right, run the command again with --yes",
        )
