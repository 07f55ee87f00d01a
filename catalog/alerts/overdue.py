"""What should have run by now and did not, by plans and by the runs that are known. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from catalog.alerts.jobs import GOOD, Names
from catalog.alerts.rules import DAY
from catalog.alerts.state import Fact, Key
from catalog.notify.event import Severity
from catalog.plans.effective import Plan
from catalog.schedule.due import BACKUP, NO_ROLE, TRAVELS, UPKEEP, Duty, expected_by, grace
from catalog.schedule.history import Ran
from catalog.screen.text import iso_time

LONGEST = 7 * DAY  # ns for which a new plan excuses what the runs so far would not
AHEAD = 300 * 10**9  # ns by which clocks may differ
CATCHING_UP = 3600 * 10**9  # ns after it woke in which a machine makes up for what it slept through
MONTH = 31 * DAY
ASLEEP = 3 * DAY  # ns; for one that is late by more than that, nobody waits
_KINDS = {"prune": "prune.overdue", "check": "check.overdue", "restore-test": "restore_test.overdue"}


class Expected(NamedTuple):
    """When the next success of a duty is expected, when it is overdue, and the last success (ns; 0: none)."""

    duty: Duty
    slot: int
    overdue: int
    last: int


class Protected(NamedTuple):
    """An item (id in hex; "" for the machine itself, with its upkeep) and its plan.

    `since` is when the plan began to count (ns), 0 if that is not known. `runs` are those of it. `running` is when
    the backup began that is at work (ns; 0: none).
    """

    vault: str
    machine: str
    item: str
    plan: Plan
    runs: Sequence[Ran]
    since: int = 0
    running: int = 0


def expectations(one: Protected, now: int) -> list[Expected]:
    """What is expected of an item or, without one, of the upkeep of a machine. Nothing while it is paused."""
    if not one.plan.runs_at(now):
        return []
    found = []
    for duty in (BACKUP,) if one.item else UPKEEP:
        if duty == BACKUP and one.plan.schedule is None:
            continue
        runs = [ran for ran in one.runs if ran.kind.replace(" ", "-") == duty.kind and ran.level >= duty.level]
        if duty != BACKUP and runs and max(runs, key=lambda ran: ran.started).reason == NO_ROLE:
            continue  # it is for another machine to do
        if duty == BACKUP and runs and max(runs, key=lambda ran: ran.started).reason == TRAVELS:
            continue  # it waits for its first backup, which is on its way
        good = [ran for ran in runs if ran.outcome in GOOD]
        past = [ran.started for ran in good if ran.started <= now + AHEAD]
        if good and not past:
            continue  # the clock was set back to before all of them: `clock.skew` says so
        machine = bytes.fromhex(one.machine)
        as_duty = [ran if ran.level == duty.level else _at_level(ran, duty.level) for ran in runs]
        slot = expected_by(one.plan, as_duty, now, duty=duty, machine=machine, since=one.since)
        if slot is not None and one.since and past:
            # A plan that is written again and again must not put this off for ever.
            first = expected_by(one.plan, as_duty, now, duty=duty, machine=machine)
            slot = first if first is not None and now - first > LONGEST else slot
        if slot is not None:
            found.append(Expected(duty, slot, slot + grace(one.plan, duty), max(past, default=0)))
    return found


def _at_level(ran: Ran, level: int) -> Ran:
    """A check of a deeper level, as the check of a lesser one that it contains."""
    import msgspec

    return msgspec.structs.replace(ran, level=level)


def overdue_facts(
    protected: Iterable[Protected],
    scope: str,
    names: Names,
    now: int,
    resumed: int = 0,
    opened: Collection[Key] = (),
) -> list[Fact]:
    """What is overdue. `scope` has the id of each machine below it.

    A machine that woke at `resumed` (ns) is given an hour before it raises an alert that is not `opened`: one
    that sleeps at night would do so each morning, just before its backup.
    """
    found = []
    is_waking = resumed <= now < resumed + CATCHING_UP
    for one in protected:
        for expected in expectations(one, now):
            if now > expected.overdue:
                fact = _fact(one, expected, scope, names, now)
                if not is_waking or now > expected.overdue + ASLEEP or fact.key in opened:
                    found.append(fact)
    return found


def _fact(one: Protected, expected: Expected, scope: str, names: Names, now: int) -> Fact:
    duty, late = expected.duty, hours(now - expected.slot)
    what = "backup" if duty == BACKUP else duty.kind.replace("-", " ")
    if duty.level:
        what += f" of level {duty.level}"
    last = f"the last one began {hours(now - expected.last)} ago" if expected.last else "there was none yet"
    busy = duty == BACKUP and one.running > 0
    if busy:
        last += f"; one has been at work for {hours(now - one.running)}"
    return Fact(
        _KINDS.get(duty.kind, "backup.overdue"), f"{scope}/{one.machine}", one.vault, one.machine, one.item,
        f"level {duty.level}" if duty.level else "", names.machine(one.machine),
        names.item(one.machine, one.item) if one.item else "",
        title=f"{what} is overdue", text=f"the {what} is {late} late; {last}",
        details={"expected": _iso(expected.slot), "last": _iso(expected.last)}, 
        severity=Severity.WARNING if busy else None,
    )  # fmt: skip


def _iso(ns: int) -> str:
    return (iso_time(ns) or "") if ns else ""


def clock_fact(runs: Iterable[Ran], scope: str, now: int) -> list[Fact]:
    """A fact if this machine's own runs are noted at times to come: its clock is behind, or was ahead.

    Every tick marks such runs as ahead. Those of a month on and more are of a clock that is mended.
    """
    newest = max((ran.started for ran in runs if not ran.ahead or ran.started <= now + MONTH), default=0)
    if newest <= now + AHEAD:
        return []
    text = f"this machine's clock says a time that is {hours(newest - now)} before that of its newest job"
    return [Fact("clock.skew", scope, cause="set back", title="the clock was set back", text=text)]


def hours(ns: int) -> str:
    """A length of time in whole hours or days: `26 h`, `12 d`."""
    if ns < 3600 * 10**9:
        return f"{max(ns, 0) // (60 * 10**9)} min"
    return f"{ns // (3600 * 10**9)} h" if ns < 3 * DAY else f"{ns // DAY} d"
