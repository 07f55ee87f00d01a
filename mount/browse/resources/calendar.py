"""A year of days: how many recovery points each has, and how its backups ended as far as that is known here."""

from __future__ import annotations

from collections import Counter
from datetime import date
from itertools import chain

import msgspec

from catalog.format.records import Outcome
from catalog.schedule.history import History
from mount.browse.resources.days import day_of
from mount.browse.resources.looks import looks_of
from mount.browse.resources.opened import Opened
from mount.browse.resources.points import names_of
from mount.browse.resources.wire import when

GOOD, PROBLEMS, FAILED, NONE = "good", "problems", "failed", "none"
_WORST = (FAILED, PROBLEMS, GOOD)
_OUTCOMES: dict[str, str] = {
    Outcome.COMPLETED: GOOD,
    Outcome.WITH_WARNINGS: PROBLEMS,
    Outcome.FAILED: FAILED,
    Outcome.INTERRUPTED: FAILED,
    Outcome.KILLED: FAILED,
}


class Day(msgspec.Struct, kw_only=True):
    """A day of this machine's time zone. `outcome` is the worst of its backups, `none` if none is known here."""

    date: str
    points: int
    outcome: str


class Year(msgspec.Struct, kw_only=True):
    """The days of a year that have points or backups. `first` and `last`: the times of the first and last point."""

    year: int
    days: list[Day]
    first: str | None
    last: str | None


def calendar(opened: Opened, year: int, machine: str = "", item: str = "") -> Year:
    """A year of the points of an item, of a machine, or of all. Costs and raises as `names_of`; reads no record."""
    names = names_of(opened, machine, item)
    counts = Counter(day for name in names if (day := day_of(name.time)).year == year)
    outcomes = _outcomes(opened, year, machine, item)
    times = [name.time for name in names]
    return Year(
        year=year,
        days=[
            Day(date=day.isoformat(), points=counts[day], outcome=outcomes.get(day, NONE))
            for day in sorted({*counts, *outcomes})
        ],
        first=when(min(times) or 1) if times else None,
        last=when(max(times) or 1) if times else None,
    )


def _outcomes(opened: Opened, year: int, machine: str, item: str) -> dict[date, str]:
    """How backups ended, by day: the worst of each. No request.

    Of this machine's all, of others' those that the last look at the vault kept: the strip of Home shows the same.
    """
    found: dict[date, str] = {}
    vault = opened.vault.id.hex()
    own = (ran for ran in History(opened.session.settings.where("state")).all() if ran.vault == vault)
    look = looks_of(opened).known()
    for ran in chain(own, (ran for one in (look.items if look else ()) for ran in one.runs)):
        outcome = _OUTCOMES.get(ran.outcome)
        if (
            outcome is None
            or ran.kind != "backup"
            or (machine and ran.machine != machine)
            or (item and ran.item != item)
        ):
            continue
        day = day_of(ran.started)
        if day.year == year and _WORST.index(outcome) <= _WORST.index(found.get(day, GOOD)):
            found[day] = outcome
    return found
