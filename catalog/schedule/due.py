"""What of a plan is due: the calendar, as pure functions of the plan, the runs that are on record, and the time.

A *slot* is an instant at which a job should run. A local time that does not exist means the first instant after
it, one that exists twice the first of the two, so that neither is ever skipped or served twice. A job that began
after a slot and succeeded serves it and all before it. Nothing here keeps state: a tick may be late, missing, or
repeated. Instants are ns since the epoch (UTC).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from catalog.retention.slots import instant, wall_of
from catalog.schedule.history import RUNNING, Ran

SECOND = 10**9  # ns
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
STILL_RUNNING = "still running"  # the reasons of a skipped slot that are not a condition's
NO_ROLE = "no role for it"
SOON = 30 * MINUTE  # no catch-up if the next slot is nearer
FIRST_RETRY, LAST_RETRY = 5 * MINUTE, 6 * HOUR  # the pause after the first failure, doubled up to the second
LEAST_GRACE = 2 * HOUR
_MOST_DAYS = 400  # that slots are counted back over
_MOST_MISSED = 10_000
_NO_DATE = (OverflowError, ValueError, OSError)  # a time that no calendar has


class Times(Protocol):
    """When backups run. `times` are minutes of the day, `weekdays` 1 (Monday) to 7, none for all.

    Of the weeks, counted from the Monday `anchor` (days since 1970-01-01), every `every_weeks`-th counts. `every`
    is minutes from one slot to the next, counted from each midnight; 0: by `times`.
    """

    @property
    def times(self) -> Sequence[int]: ...
    @property
    def weekdays(self) -> Sequence[int]: ...
    @property
    def every_weeks(self) -> int: ...
    @property
    def anchor(self) -> int: ...
    @property
    def every(self) -> int: ...


class Regular(Protocol):
    """A duty of upkeep. `every` is hours, 0: never; `budget` minutes, 0: no limit; `percent` of the packs."""

    @property
    def every(self) -> int: ...
    @property
    def budget(self) -> int: ...
    @property
    def percent(self) -> int: ...


class Pause(Protocol):
    """Nothing runs from `since` to `until` (0: until it is ended)."""

    @property
    def since(self) -> int: ...
    @property
    def until(self) -> int: ...


class Calendar(Protocol):
    """What the calendar needs of a plan. `spread` and `grace` are minutes; a grace of 0 is the usual one."""

    @property
    def zone(self) -> str: ...
    @property
    def schedule(self) -> Times: ...
    @property
    def catch_up(self) -> bool: ...
    @property
    def spread(self) -> int: ...
    @property
    def grace(self) -> int: ...
    @property
    def prune(self) -> Regular: ...
    @property
    def check_1(self) -> Regular: ...
    @property
    def check_2(self) -> Regular: ...
    @property
    def check_3(self) -> Regular: ...
    @property
    def restore_test(self) -> Regular: ...
    @property
    def paused(self) -> Pause | None: ...
    @property
    def stopped(self) -> object | None: ...


class Duty(NamedTuple):
    """A kind of job that a plan names; `level` is that of a check."""

    kind: str
    level: int = 0


BACKUP = Duty("backup")
# Upkeep, in the order in which it runs.
UPKEEP = (Duty("prune"), Duty("check", 1), Duty("check", 2), Duty("check", 3), Duty("restore-test"))


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
    plan: Calendar,
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
    if plan.stopped is not None or _is_paused(plan, now):
        return found
    rows = list(runs)
    for duty in duties:
        job = _job(plan, _of(rows, duty), now, duty, machine, max(since, _end_of_pause(plan, now)), resumed)
        if job is not None:
            (found.jobs if job.ready <= now else found.later).append(job)
    return found


def expected_by(
    plan: Calendar, runs: Iterable[Ran], now: int, *, duty: Duty = BACKUP, machine: bytes = b"", since: int = 0
) -> int | None:
    """The slot that the next success serves. None if the plan is stopped or paused, or has no such duty.

    It is overdue once `grace` has passed since.
    """
    if plan.stopped is not None or _is_paused(plan, now):
        return None
    base = max(since, _end_of_pause(plan, now))
    slots = _slots(plan, duty, machine)
    if slots is None:
        return None
    rows = _of(runs, duty)
    covered = max(_covered(rows, now), base)
    if duty != BACKUP:
        last = _last_slot(rows, now)
        return last + slots.period if last else (base + slots.period if base else slots.last(now))
    if not covered:
        return slots.last(now)
    return slots.next(covered)


def grace(plan: Calendar, duty: Duty = BACKUP) -> int:
    """How long after a slot (ns) a job is overdue: of backups, 2 hours or half the time between slots at least.

    Of upkeep, as long as from one to the next.
    """
    slots = _slots(plan, duty, b"")
    if slots is None:
        return LEAST_GRACE
    if duty != BACKUP:
        return slots.period
    return plan.grace * MINUTE if plan.grace else max(LEAST_GRACE, slots.period // 2)


def next_slot(plan: Calendar, now: int) -> int | None:
    """The next slot of a backup after `now`. None if there is none, or the plan is stopped."""
    if plan.stopped is not None:
        return None
    slots = _slots(plan, BACKUP, b"")
    return None if slots is None else slots.next(max(now, _end_of_pause(plan, now, coming=True)))


# --- slots ------------------------------------------------------------------------------------------------


class _Slots(Protocol):
    period: int  # ns from one slot to the next, about

    def last(self, now: int) -> int | None: ...
    def next(self, now: int) -> int | None: ...
    def between(self, after: int, before: int) -> int: ...


def _slots(plan: Calendar, duty: Duty, machine: bytes) -> _Slots | None:
    if duty == BACKUP:
        if not plan.schedule.every and not plan.schedule.times:
            return None
        return WallSlots(plan.schedule, zone_of(plan.zone))
    regular = regular_of(plan, duty)
    return None if regular.every <= 0 else _Grid(regular.every * HOUR, _hashed(machine, f"{duty.kind}{duty.level}"))


def zone_of(name: str) -> tzinfo:
    """The time zone of a name; UTC if this machine doesn't know it, so that backups go on."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        return UTC


def regular_of(plan: Calendar, duty: Duty) -> Regular:
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


class WallSlots:
    """The slots of backups, by the clock on the wall of a zone."""

    def __init__(self, times: Times, zone: tzinfo) -> None:
        self._times, self._zone = times, zone
        self._weekdays = frozenset(times.weekdays) or frozenset(range(1, 8))
        self.period = self._period()

    def _period(self) -> int:
        if self._times.every:
            return self._times.every * MINUTE
        return DAY * 7 * max(self._times.every_weeks, 1) // (len(self._weekdays) * max(len(self._times.times), 1))

    def last(self, now: int) -> int | None:
        """The last slot at or before `now`; None if there is none in the 400 days (or two rounds) before."""
        for day in self._days(now, back=True):
            found = [slot for slot in self.of_day(day) if slot <= now]
            if found:
                return found[-1]
        return None

    def next(self, now: int) -> int | None:
        """The first slot after `now`."""
        for day in self._days(now, back=False):
            found = [slot for slot in self.of_day(day) if slot > now]
            if found:
                return found[0]
        return None

    def between(self, after: int, before: int) -> int:
        """How many slots are after `after` and before `before`, counted up to 10,000."""
        number = 0
        for day in self._days(before, back=True):
            slots = self.of_day(day)
            number += sum(after < slot < before for slot in slots)
            if number >= _MOST_MISSED or (slots and slots[0] <= after) or _midnight(day, self._zone) <= after:
                break
        return min(number, _MOST_MISSED)

    def _days(self, around: int, *, back: bool) -> Iterator[date]:
        """The days with slots, from two after (or before) the instant's own on."""
        try:
            first = wall_of(around, self._zone).date() + timedelta(days=2 if back else -2)
        except _NO_DATE:
            return
        step = timedelta(days=-1 if back else 1)
        for number in range(max(_MOST_DAYS, 15 * max(self._times.every_weeks, 1)) + 3):
            try:
                day = first + number * step
            except _NO_DATE:
                return
            if self._is_chosen(day):
                yield day

    def _is_chosen(self, day: date) -> bool:
        if day.isoweekday() not in self._weekdays:
            return False
        weeks = self._times.every_weeks
        return weeks <= 1 or ((day - date(1970, 1, 1)).days - self._times.anchor) // 7 % weeks == 0

    def of_day(self, day: date) -> list[int]:
        """The slots of a day, whatever its weekday. The clock may make two of them one."""
        try:
            if not self._times.every:
                walls = [datetime.combine(day, time()) + timedelta(minutes=m) for m in self._times.times]
                return sorted({instant(wall, self._zone) for wall in walls})
            start, end = _midnight(day, self._zone), _midnight(day + timedelta(days=1), self._zone)
        except _NO_DATE:
            return []
        return list(range(start, end, self._times.every * MINUTE))


def _midnight(day: date, zone: tzinfo) -> int:
    return instant(datetime.combine(day, time()), zone)


class _Grid:
    """Slots of upkeep that has never run: every so often, machines apart."""

    def __init__(self, period: int, hashed: float) -> None:
        self.period, self._offset = period, int(period * hashed)

    def last(self, now: int) -> int | None:
        return (now - self._offset) // self.period * self.period + self._offset

    def next(self, now: int) -> int | None:
        last = self.last(now)
        return None if last is None else last + self.period

    def between(self, after: int, before: int) -> int:
        return min(max((before - after - 1) // self.period, 0), _MOST_MISSED)


# --- jobs -------------------------------------------------------------------------------------------------


def _job(
    plan: Calendar, rows: list[Ran], now: int, duty: Duty, machine: bytes, since: int, resumed: int
) -> Job | None:
    slots = _slots(plan, duty, machine)
    if slots is None or any(ran.outcome == RUNNING for ran in rows):
        return None
    covered = _covered(rows, now)
    if duty == BACKUP:
        slot, following = slots.last(now), slots.next(now)
        missed = 0 if slot is None or not max(covered, since) else slots.between(max(covered, since), slot)
    else:
        last = _last_slot(rows, now)
        slot = slots.last(now) if not last else last + (now - last) // slots.period * slots.period
        missed = 0 if not last else max((slot or 0) - last, 0) // slots.period - 1
        following = None if slot is None else slot + slots.period
    if slot is None or slot <= max(covered, since) or slot <= _given_up(rows):
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
        ready = max(ready, max(_ended(ran) for ran in tries) + _pause(sum(ran.tries for ran in tries)))
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
    skipped = [ran.slot for ran in rows if ran.outcome == "skipped" and ran.reason == STILL_RUNNING]
    for ran in good:
        found = max([found, *(slot for slot in skipped if ran.started <= slot <= ran.finished)])
    return min(found, now)


def _given_up(rows: list[Ran]) -> int:
    """The newest slot that was skipped for good: without a role, no retry helps."""
    return max((ran.slot for ran in rows if ran.outcome == "skipped" and ran.reason == NO_ROLE), default=0)


def _last_slot(rows: list[Ran], now: int) -> int:
    """The slot from which upkeep counts: of its last success, or skip for good; 0 if there was none."""
    done = [ran.slot or ran.started for ran in _past(rows, now) if _is_success(ran)]
    return min(max([*done, _given_up(rows)]), now)


def _tries(rows: list[Ran], slot: int, now: int) -> list[Ran]:
    """The runs since a slot that did not succeed."""
    return [
        ran
        for ran in _past(rows, now)
        if ran.started >= slot and not _is_success(ran) and ran.outcome not in (RUNNING, "skipped", "missed")
    ]


def _ended(ran: Ran) -> int:
    return max(ran.finished, ran.started)


def _pause(tries: int) -> int:
    """How long to wait (ns) after the n-th failure of a slot."""
    return min(FIRST_RETRY << min(tries - 1, 16), LAST_RETRY)


def _hashed(machine: bytes, text: str) -> float:
    """A number from 0 to 1 that differs between machines, and never changes."""
    digest = hashlib.blake2b(machine + text.encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def _is_paused(plan: Calendar, now: int) -> bool:
    pause = plan.paused
    return pause is not None and pause.since <= now and (not pause.until or now < pause.until)


def _end_of_pause(plan: Calendar, now: int, *, coming: bool = False) -> int:
    """When the last pause ended (or, if `coming`, will): slots before that are none. 0 if there was none."""
    pause = plan.paused
    return pause.until if pause is not None and (coming or pause.until <= now) else 0
