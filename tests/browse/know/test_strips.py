"""The last thirty days of an item, from runs, points and a plan."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from catalog.format.plan import Pause, Schedule
from catalog.plans.effective import Plan
from catalog.schedule.history import Ran
from mount.browse.resources.strips import DAYS, Calendar, StripDay, strip

SECOND = 10**9
NOW = int(datetime(2026, 3, 31, 18, tzinfo=UTC).timestamp()) * SECOND
DAILY = Plan(schedule=Schedule(times=[12 * 60]), paths=(b"/home",), zone=None)


def at(day: int, hour: int = 12) -> int:
    """An hour of a day before today."""
    when = datetime(2026, 3, 31, hour, tzinfo=UTC) - timedelta(days=day)
    return int(when.timestamp()) * SECOND


def ran(day: int, outcome: str = "completed", hour: int = 12, kind: str = "backup") -> Ran:
    return Ran(id=f"{day}{outcome}{hour}", kind=kind, started=at(day, hour), outcome=outcome)


def cells(points: list[int], runs: list[Ran], plan: Plan | None = None, since: int = 0) -> list[StripDay]:
    calendar = Calendar(NOW)
    found = strip(calendar, calendar.counts(points), runs, plan, since, NOW)
    assert len(found) == DAYS and found[-1].date == "2026-03-31" and found[0].date == "2026-03-02"
    return found


def states(found: list[StripDay]) -> dict[int, str]:
    """The states by days before today, without the empty ones."""
    return {DAYS - 1 - n: cell.state for n, cell in enumerate(found) if cell.state != "none"}


def test_the_states_of_days() -> None:
    points = [at(1), at(1, 13), at(2), at(4), at(40), at(-3)]
    runs = [
        ran(1), ran(2), ran(2, "failed", 9), ran(3, "killed"), ran(4, "completed with warnings"), ran(6, "skipped"),
        ran(5, "failed", kind="check"), ran(7, "running"), ran(8), ran(35, "failed"),
    ]  # fmt: skip
    found = cells(points, runs)
    assert states(found) == {1: "good", 2: "problems", 3: "failed", 4: "problems", 8: "good"}
    words = {DAYS - 1 - n: cell.words for n, cell in enumerate(found)}
    assert words[1] == "2 recovery points"
    assert words[2] == "1 recovery point, 1 failed"
    assert words[4] == "1 recovery point, 1 with warnings"
    assert (words[5], words[8]) == ("no backup", "a backup ran")


def test_a_planned_backup_that_did_not_come() -> None:
    found = cells([at(d) for d in range(30) if d not in (3, 9)], [], DAILY)
    assert states(found)[3] == states(found)[9] == "missed"
    assert [d for d, s in states(found).items() if s == "missed"] == [9, 3]
    since = cells([at(1), at(2)], [], DAILY, since=at(5, 0))
    assert [d for d, s in states(since).items() if s == "missed"] == [5, 4, 3], "before it, no plan was there"


def test_nothing_is_missed_while_it_is_paused_or_stopped() -> None:
    import msgspec

    paused = msgspec.structs.replace(DAILY, paused=Pause(since=at(5, 0)))
    assert [d for d, s in states(cells([], [], paused, since=at(7, 0))).items() if s == "missed"] == [7, 6]


def test_today_is_missed_only_when_it_is_late() -> None:
    late = Plan(schedule=Schedule(times=[17 * 60]), paths=(b"/home",), grace=120, zone=None)
    assert 0 not in states(cells([at(d, 17) for d in range(1, 30)], [], late))


@pytest.mark.parametrize("now", [NOW, NOW + 200 * 86_400 * SECOND])
def test_the_days_of_a_calendar_join(now: int) -> None:
    calendar = Calendar(now)
    assert len(calendar.dates) == DAYS and len(calendar.starts) == DAYS + 1
    assert calendar.starts == sorted(calendar.starts)
    for n, start in enumerate(calendar.starts[:DAYS]):
        assert (calendar.day_of(start), calendar.day_of(calendar.starts[n + 1] - 1)) == (n, n)
    assert calendar.day_of(calendar.starts[0] - 1) is calendar.day_of(calendar.starts[DAYS]) is None
