"""What of a plan is due: the calendar, as pure functions of the plan, the runs that are on record, and the time.

A *slot* is an instant at which a job should run. A job that began after a slot and succeeded serves it and all
before it. Nothing here keeps state: a tick may be late, missing, or repeated. Instants are ns since the epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from catalog.format.plan import Care, Schedule
from catalog.plans.effective import SYSTEM_STATE, Plan
from catalog.schedule.history import MISSED, RESTORE_TEST, RUNNING, SKIPPED, Ran
from catalog.schedule.slots import HOUR, MINUTE, Grid, Slots, WallSlots

STILL_RUNNING = "still running"  # the reasons of a skipped slot that are not a condition's
NO_ROLE = "no role for it"
TRAVELS = "its first backup travels on disks"
_FOR_GOOD = (NO_ROLE, TRAVELS)
SOON = 30 * MINUTE  # no catch-up if the next slot is nearer
FIRST_RETRY, LAST_RETRY = 5 * MINUTE, 6 * HOUR  # the pause after the first failure, doubled up to the second
LEAST_GRACE = 2 * HOUR


class Duty(NamedTuple):
    """A kind of job that a plan names; `level` is that of a check."""

    kind: str
    level: int = 0


BACKUP = Duty("backup")
# Upkeep, in the order in which it runs.
UPKEEP = (Duty("prune"), Duty("check", 1), Duty("check", 2), Duty("check", 3), Duty(RESTORE_TEST))


class Job(NamedTuple):
    """A job that is due. It serves `slot`, and `missed` slots before it; it may begin at `ready`, and not before.

    `attempt` counts from 1 within the slot.
    """

    duty: Duty
    slot: int
    missed: int
    ready: int
    attempt: int = 1


class Due(NamedTuple):
    """The jobs that may begin now, in their order, and those of passed slots that wait (to retry, to spread)."""

    jobs: list[Job]
    later: list[Job]


def due(
    plan: Plan,
    runs: Iterable[Ran],
    now: int,
    *,
    duties: Sequence[Duty] = (BACKUP,),
    machine: bytes = b"",
    since: int = 0,
    resumed: int = 0,
) -> Due:
    """What is due of the `duties` of a plan.

    `runs` are those of the item for a backup, of the machine for upkeep, in any order. Slots before `since`, when
    the plan was made, don't count. `machine` is its id, by which machines begin at different times after a slot,
    and after `resumed`, when the machine was last started or woken.
    """
    found = Due([], [])
    if not plan.runs_at(now):
        return found
    rows = list(runs)
    for duty in duties:
        job = _job(plan, _of(rows, duty), now, duty, machine, max(since, _end_of_pause(plan, now)), resumed)
        if job is not None:
            (found.jobs if job.ready <= now else found.later).append(job)
    return found


def expected_by(
    plan: Plan, runs: Iterable[Ran], now: int, *, duty: Duty = BACKUP, machine: bytes = b"", since: int = 0
) -> int | None:
    """The slot that the next success serves. None if the plan is stopped or paused, or has no such duty.

    It is overdue once `grace` has passed since.
    """
    if not plan.runs_at(now):
        return None
    base = max(since, _end_of_pause(plan, now))
    slots = slots_of(plan, duty, machine)
    if slots is None:
        return None
    rows = _of(runs, duty)
    covered = max(_covered(rows, now), base)
    first = min((ran.slot or ran.started for ran in _past(rows, now)), default=0)  # if nothing ever succeeded
    if duty != BACKUP:
        last = _last_slot(rows, now)
        if last or base:
            return max(last, base) + slots.period
        return first or slots.last(now)
    if covered:
        return slots.next(covered)
    return first or slots.last(now)


def grace(plan: Plan, duty: Duty = BACKUP) -> int:
    """How long after a slot (ns) a job is overdue: of backups, 2 hours or half the time between slots at least.

    Of upkeep, as long as from one to the next.
    """
    slots = slots_of(plan, duty)
    if slots is None:
        return LEAST_GRACE
    if duty != BACKUP:
        return slots.period
    return max(LEAST_GRACE, slots.period // 2) if plan.grace is None else plan.grace * MINUTE


def overlapped(plan: Plan, runs: Iterable[Ran], now: int) -> int | None:
    """The slot of a backup that came while an earlier run was at work, and is; None if there is none."""
    if not plan.runs_at(now):
        return None
    slots = slots_of(plan, BACKUP)
    slot = None if slots is None else slots.last(now)
    rows = [ran for ran in _of(runs, BACKUP) if ran.outcome == RUNNING and ran.started <= now]
    if slot is None or not rows:
        return None
    return slot if all(max(ran.started, ran.slot) < slot for ran in rows) else None


def lapsed(plan: Plan, runs: Iterable[Ran], now: int, *, since: int = 0) -> tuple[int, int] | None:
    """Of a plan that catches nothing up: the newest slot of a backup that was given up without a trace.

    With it, how many before it were. None if there is none.
    """
    slots, rows = slots_of(plan, BACKUP), _of(runs, BACKUP)
    if plan.catch_up or slots is None or not plan.runs_at(now) or any(ran.outcome == RUNNING for ran in rows):
        return None
    slot, covered = slots.last(now), max(_covered(rows, now), since, _end_of_pause(plan, now))
    if slot is None or slot <= covered or now - slot <= grace(plan) or any(ran.slot == slot for ran in rows):
        return None
    return slot, _missed(slots, rows, covered, slot)


def next_slot(plan: Plan, now: int) -> int | None:
    """The next slot of a backup after `now`. None if there is none, or the plan is stopped."""
    if plan.stopped is not None:
        return None
    slots = slots_of(plan, BACKUP)
    return None if slots is None else slots.next(max(now, _end_of_pause(plan, now, coming=True)))


# --- slots ------------------------------------------------------------------------------------------------


def slots_of(plan: Plan, duty: Duty, machine: bytes = b"") -> Slots | None:
    """The slots of a duty; None if the plan has none."""
    if duty == BACKUP:
        schedule = _once_a_day(plan.schedule) if plan.what == SYSTEM_STATE else plan.schedule
        return None if schedule is None or not (schedule.every or schedule.times) else WallSlots(schedule, plan.tz)
    care = care_of(plan, duty)
    return None if not care.every else Grid(care.every * HOUR, _hashed(machine, f"{duty.kind}{duty.level}"))


def _once_a_day(schedule: Schedule | None) -> Schedule | None:
    """The schedule of the system state: only the first time of a day counts."""
    if schedule is None or not (schedule.every or schedule.times):
        return schedule
    return msgspec.structs.replace(schedule, times=schedule.times[:1] or [0], every=0)


def care_of(plan: Plan, duty: Duty) -> Care:
    """What the plan says of a duty of upkeep."""
    match duty:
        case Duty("prune"):
            return plan.prune
        case Duty("check", 1):
            return plan.check_1
        case Duty("check", 2):
            return plan.check_2
        case Duty("check"):
            return plan.check_3
        case _:
            return plan.restore_test


# --- jobs -------------------------------------------------------------------------------------------------


def _job(plan: Plan, rows: list[Ran], now: int, duty: Duty, machine: bytes, since: int, resumed: int) -> Job | None:
    slots = slots_of(plan, duty, machine)
    if slots is None or any(ran.outcome == RUNNING for ran in rows):
        return None
    covered = _covered(rows, now)
    if duty == BACKUP:
        slot, following = slots.last(now), slots.next(now)
        missed = 0 if slot is None else _missed(slots, rows, max(covered, since), slot)
    else:
        last = _last_slot(rows, now)
        slot = slots.last(now) if not last else last + (now - last) // slots.period * slots.period
        missed = 0 if not last or slot is None else slots.between(last, slot)
        following = None if slot is None else slot + slots.period
    if slot is None or slot <= max(covered, since) or slot <= _given_up(rows, now):
        return None
    tries = _tries(rows, slot, now)
    spread = min(plan.spread * MINUTE, slots.period // 4)
    late = now - slot > spread + SOON // 2
    if duty == BACKUP and late:
        if not plan.catch_up and now - slot > grace(plan):
            return None
        if following is not None and following - now <= min(SOON, slots.period // 4):
            return None  # that one serves this slot, too
    begin = max(slot, resumed if slot < resumed <= now else 0)
    ready = begin + int(spread * _hashed(machine, str(slot)))
    if tries:
        ready = max(ready, min(max(_ended(ran) for ran in tries), now) + pause(sum(ran.tries for ran in tries)))
    return Job(duty, slot, max(missed, 0), ready, 1 + sum(ran.tries for ran in tries))


def _of(runs: Iterable[Ran], duty: Duty) -> list[Ran]:
    return [ran for ran in runs if ran.kind == duty.kind and ran.level == duty.level]


def _is_success(ran: Ran) -> bool:
    return ran.outcome.startswith("completed")


def _past(rows: Iterable[Ran], now: int) -> Iterator[Ran]:
    """The runs that can have been: a clock that was ahead notes others, and those block nothing."""
    return (ran for ran in rows if not ran.ahead and ran.started <= now)


def _covered(rows: list[Ran], now: int) -> int:
    """The instant up to which every slot is served; 0 if nothing was.

    Slots that came up while a run was at work are served by that run, if they were skipped for it.
    """
    good = [ran for ran in _past(rows, now) if _is_success(ran)]
    found = max((max(ran.started, ran.slot) for ran in good), default=0)
    skipped = [ran.slot for ran in rows if ran.outcome == SKIPPED and ran.reason == STILL_RUNNING]
    for ran in good:
        found = max([found, *(slot for slot in skipped if ran.started <= slot <= ran.finished)])
    return min(found, now)


def _missed(slots: Slots, rows: list[Ran], covered: int, slot: int) -> int:
    """How many slots between passed without a trace; 0 if nothing was ever covered."""
    if not covered:
        return 0
    between = [ran for ran in rows if covered < ran.slot < slot]
    traces = {ran.slot for ran in between}
    counted = sum(ran.missed for ran in between if ran.outcome == MISSED)
    return max(slots.between(covered, slot) - len(traces) - max(counted, 0), 0)


def _given_up(rows: list[Ran], now: int) -> int:
    """The newest slot that was skipped for good: without a role, or while a seed travels, no retry helps."""
    return max((r.slot for r in _past(rows, now) if r.outcome == SKIPPED and r.reason in _FOR_GOOD), default=0)


def _last_slot(rows: list[Ran], now: int) -> int:
    """The slot from which upkeep counts: of its last success, or skip for good; 0 if there was none."""
    done = [ran.slot or ran.started for ran in _past(rows, now) if _is_success(ran)]
    return min(max([*done, _given_up(rows, now)]), now)


def _tries(rows: list[Ran], slot: int, now: int) -> list[Ran]:
    """The runs since a slot that did not succeed."""
    return [
        ran
        for ran in _past(rows, now)
        if ran.started >= slot and not _is_success(ran) and ran.outcome not in (RUNNING, SKIPPED, MISSED)
    ]


def _ended(ran: Ran) -> int:
    return max(ran.finished, ran.started)


def pause(tries: int) -> int:
    """How long to wait (ns) after the n-th failure of a slot."""
    return min(FIRST_RETRY << min(tries - 1, 16), LAST_RETRY)


def _hashed(machine: bytes, text: str) -> float:
    """A number from 0 to 1 that differs between machines, and never changes."""
    digest = hashlib.blake2b(machine + text.encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def _end_of_pause(plan: Plan, now: int, *, coming: bool = False) -> int:
    """When the last pause ended (or, if `coming`, will): slots before that are none. 0 if there was none."""
    pause = plan.paused
    return pause.until if pause is not None and pause.until and (coming or pause.until <= now) else 0
