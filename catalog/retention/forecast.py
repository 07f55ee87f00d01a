"""What a policy would remove, now and in the days to come, if backups go on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

from catalog.retention.decide import Decision, Fact, Hold, age_of, decide
from catalog.retention.policy import Policy
from catalog.retention.slots import instant, iso_day, next_day, wall_of


class Going(NamedTuple):
    """Points that would go on a day; `day` None: now."""

    day: date | None
    decisions: list[Decision]


def forecast(
    points: Sequence[Fact], policy: Policy, holds: Iterable[Hold], now: int, days: int
) -> tuple[list[Going], int]:
    """What goes at `now` (ns), and until the end of each day from today on, and how many points are left then.

    Supposes one more backup each day, at the time of day of the newest point; these are not counted. Days are those
    of the policy's zone; those on which nothing goes are left out.
    """
    holds = list(holds)
    going, left = list[Going](), list(points)
    if not points or policy.zone is None:
        return going, len(left)
    newest = max((p for p in points if p.is_trusted), key=age_of, default=max(points, key=age_of))
    sequence = max(p.sequence for p in points)
    wall = wall_of(newest.time, policy.zone)
    more, end, midnight = list[Fact](), now, now
    for n in range(days + 1):
        if n:
            midnight = next_day(midnight, policy.zone)
            end = midnight - 1  # what ends at midnight goes on the day that begins
            day = iso_day(end, policy.zone)
            time = instant(wall.replace(year=day.year, month=day.month, day=day.day), policy.zone)
            if max(now, newest.time) < time <= end:  # that of the first day may have been made already
                sequence += 1
                more.append(Fact(b"", sequence, time, time))
        decisions = decide([*left, *more], policy, holds, end)
        gone = [d for d in decisions[: len(left)] if not d.keep]
        more = [d.point for d in decisions[len(left) :] if d.keep]
        left = [d.point for d in decisions[: len(left)] if d.keep]
        if gone:
            going.append(Going(iso_day(end, policy.zone) if n else None, gone))
    return going, len(left)
