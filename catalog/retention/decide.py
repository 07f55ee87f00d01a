"""Which recovery points of an item are kept, and why. docs/retention.md.

A pure function of the points that an item has now, a policy, holds and the time. Four things carry it:

- A slot is held by the point of it that was stored first, by the store's clock. So no later point, whatever time it
  claims, takes a slot from one that is there.
- A point whose claimed time disagrees with the store's holds no slot. It is kept as long as the longest rule would.
- The end of a slot depends on the slot alone. So whether points are removed daily or once, the same ones remain.
- Time stops for all rules but `erase_after` when backups stop, and a new point changes nothing on its first day.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple

from catalog.retention.policy import Policy
from catalog.retention.slots import DAY, HOUR, SECOND, Slot, Slots, end_of, hour_start, wall_of

TRUSTED = 36 * HOUR  # between the time that a point claims and that of its object in the store
SETTLED = DAY  # a point that was stored later than this ago doesn't yet take the place of an earlier one
_FAR = 62 * DAY  # a gap between points over which slots are not walked one by one
_STOPPED = -1  # the time of the rules while there is no settled point


class Fact(NamedTuple):
    """A whole point. `time` is when its backup began to read, as it says; `modified` when it was stored, by the
    store's clock (ns since the epoch, UTC). `verified`: all of it was read back, and found whole."""

    id: bytes
    sequence: int
    time: int
    modified: int
    verified: bool = False

    @property
    def is_trusted(self) -> bool:
        """Whether the store's clock confirms the time of the point."""
        return abs(self.modified - self.time) <= TRUSTED


class Why(StrEnum):
    """Why a point is kept. The rules of a policy come first."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"
    HOURLY = "hourly"
    LAST = "last"
    NEWEST = "newest"
    NEWEST_VERIFIED = "newest verified"
    NOT_REPLACED = "not replaced"
    RECENT = "recent"
    TIME = "time"
    HOLD = "hold"
    IMMUTABLE = "immutable"
    NO_POLICY = "no policy"
    UNKNOWN_FIELDS = "unknown fields"
    ERASE_AFTER = "erase after"


class Hold(NamedTuple):
    """A person or a program keeps a point, until a time (ns) or without end. `reason` is for people.

    A pin, a legal hold, a date until which a point is retained, a drive or a job that uses it.
    """

    point: bytes
    until: int | None
    reason: str


class Reason(NamedTuple):
    """Why a point is kept, until when (ns; None: no end is known), and since when its slot is (ns, for rules)."""

    why: Why
    until: int | None
    slot: int | None = None
    note: str = ""


class Decision(NamedTuple):
    """What becomes of a point. `reasons` keep it; `ended` kept it once, or are why it goes. `erase`: when
    `erase_after` wants it removed (ns)."""

    point: Fact
    keep: bool
    reasons: tuple[Reason, ...]
    ended: tuple[Reason, ...] = ()
    erase: int | None = None

    @property
    def until(self) -> int | None:
        """The end of the last reason (ns); None if one has no known end, or there is none."""
        ends = [reason.until for reason in self.reasons]
        return None if not ends or None in ends else max(end for end in ends if end is not None)


age_of: Callable[[Fact], tuple[int, int, bytes]] = itemgetter(1, 2, 0)
"""Sequence, time and id: the newest of an item's points has the greatest."""


def decide(points: Sequence[Fact], policy: Policy, holds: Iterable[Hold], now: int) -> list[Decision]:
    """For each whole point of an item, in their order, whether it is kept at `now` (ns), and why.

    Partial points, and those under soft delete, must not be among `points`.
    """
    if policy.unknown or not policy.is_complete:
        note = ", ".join(policy.unknown)
        every = Reason(Why.UNKNOWN_FIELDS if policy.unknown else Why.NO_POLICY, None, note=note)
        held: dict[bytes, list[Reason]] = {}
        for hold in holds:
            if hold.until is None or hold.until > now:
                held.setdefault(hold.point, []).append(Reason(Why.HOLD, hold.until, note=hold.reason))
        return [Decision(point, True, (every, *held.get(point.id, ()))) for point in points]
    found = _Reasons(points, policy, now)
    found.rules()
    found.guards()
    found.holds(holds)
    return found.decisions()


class _Reasons:
    """Collects the reasons of each point. Points are numbered as they are given."""

    def __init__(self, points: Sequence[Fact], policy: Policy, now: int) -> None:
        assert policy.zone is not None
        self._points, self._policy, self._now, self._zone = points, policy, now, policy.zone
        self._firm: dict[int, list[Reason]] = {}  # those that are stronger than `erase_after`
        self._usual: dict[int, list[Reason]] = {}
        # A vault may have a point for each hour of 20 years: what is done for each of them is a loop in C.
        self._time, self._modified = [p.time for p in points], [p.modified for p in points]
        sequences = [p.sequence for p in points]
        ages: list[Any] = sequences if len(set(sequences)) == len(points) else list(map(age_of, points))
        self._order = sorted(range(len(points)), key=ages.__getitem__)
        apart = [abs(a - b) for a, b in zip(self._time, self._modified, strict=True)]
        self._trusted = [n for n in self._order if apart[n] <= TRUSTED]
        self._settled = [n for n in self._trusted if self._modified[n] <= now - SETTLED]
        self.clock = self._stopped_clock()

    def _stopped_clock(self) -> int:
        """The time by which rules end: it stops two periods of the finest rule after the newest settled point."""
        if not self._settled:
            return _STOPPED
        period = min(unit.longest for unit in self._policy.rules)
        return min(self._now, max(map(self._time.__getitem__, self._settled)) + 2 * period)

    # --- reasons --------------------------------------------------------------------------------------------

    def guards(self) -> None:
        """Newest points, of all and of those whose time is trusted; what nothing replaces; what the vault keeps."""
        self._newest(Why.NEWEST, None)
        verified = {n for n, point in enumerate(self._points) if point.verified}
        if verified:
            self._newest(Why.NEWEST_VERIFIED, verified)
        newest = self._trusted[-1] if self._trusted else None
        for n in reversed(self._order):
            if n == newest:
                break
            self._add(self._usual, n, Reason(Why.NOT_REPLACED, None))
        self._since_stored(self._usual, Why.RECENT, SETTLED)
        if self._policy.immutable:
            self._since_stored(self._firm, Why.IMMUTABLE, self._policy.immutable * DAY)

    def _since_stored(self, to: dict[int, list[Reason]], why: Why, length: int) -> None:
        """Keep points for `length` ns after they were stored, by the store's time, which doesn't stop."""
        since = self._now - length
        for n in [n for n, modified in enumerate(self._modified) if modified > since]:
            self._add(to, n, Reason(why, self._modified[n] + length))

    def _newest(self, why: Why, among: set[int] | None) -> None:
        """The newest point of all, of those that are trusted, and of those that were a day ago."""
        kept = set[int]()
        for order in (self._order, self._trusted, self._settled):
            n = next((n for n in reversed(order) if among is None or n in among), None)
            if n is not None and n not in kept:
                kept.add(n)
                self._add(self._firm, n, Reason(why, None))

    def holds(self, holds: Iterable[Hold]) -> None:
        by_id: dict[bytes, list[Hold]] = {}
        for hold in holds:
            by_id.setdefault(hold.point, []).append(hold)
        for n, point in enumerate(self._points if by_id else ()):
            for hold in by_id.get(point.id, ()):
                if hold.until is None or hold.until > self.clock:
                    self._add(self._firm, n, Reason(Why.HOLD, hold.until, note=hold.reason))

    def rules(self) -> None:
        policy, zone = self._policy, self._zone
        # The trusted points, in the order in which they came to the vault; those of one instant by their age.
        self._stored = stored = sorted(self._trusted, key=self._modified.__getitem__)
        rank = {n: place for place, n in enumerate(stored)}
        by_time = sorted(self._trusted, key=self._time.__getitem__)
        self._times, self._ranks = [self._time[n] for n in by_time], [rank[n] for n in by_time]
        for unit, rule in policy.rules.items():
            for slot, n in self._holders(policy.slots[unit]):
                self._add(self._usual, n, Reason(Why(unit), end_of(slot.wall, unit, rule.keep, zone), slot.start))
        if policy.hourly:
            self._hours(policy.hourly * HOUR)
        if policy.last:
            for n in {*self._trusted[-policy.last :], *self._settled[-policy.last :]}:
                self._add(self._usual, n, Reason(Why.LAST, None))
        for n in set(self._order).difference(stored) if len(stored) < len(self._order) else ():
            wall = wall_of(self._modified[n], zone)
            ends = [end_of(wall, unit, rule.keep, zone) for unit, rule in policy.rules.items()]
            self._add(self._usual, n, Reason(Why.TIME, max(ends)))

    def _holders(self, slots: Slots) -> Iterator[tuple[Slot, int]]:
        """Each slot that has points, and its holder."""
        times, first = self._times, 0
        if not times:
            return
        walk = slots.since(times[0] + slots.early)
        slot, following = next(walk), next(walk)
        while first < len(times):
            time = times[first] + slots.early
            if time > following.start + _FAR:
                walk = slots.since(time)
                slot, following = next(walk), next(walk)
            while following.start <= time:
                slot, following = following, next(walk)
            end = bisect_left(times, following.start - slots.early, first)
            yield slot, self._stored[min(self._ranks[first:end])]
            first = end

    def _hours(self, length: int) -> None:
        """The holders of the hours that have not ended."""
        first = bisect_right(self._times, self.clock - length - HOUR)
        holders: dict[int, int] = {}
        for time, rank in zip(self._times[first:], self._ranks[first:], strict=True):
            hour = hour_start(time, self._zone)
            holders[hour] = min(rank, holders.get(hour, rank))
        for hour, rank in holders.items():
            self._add(self._usual, self._stored[rank], Reason(Why.HOURLY, hour + length, hour))

    @staticmethod
    def _add(to: dict[int, list[Reason]], n: int, reason: Reason) -> None:
        to.setdefault(n, []).append(reason)

    # --- the result -----------------------------------------------------------------------------------------

    def decisions(self) -> list[Decision]:
        """The decision about each point. `erase_after` counts from the earlier of its times, and never stops."""
        days, firm, usual = self._policy.erase_after, self._firm, self._usual
        ends: Iterable[int | None] = repeat(None)
        if days:
            ends = [time + days * DAY for time in map(min, self._time, self._modified)]
        rows = [Decision(point, False, (), (), end) for point, end in zip(self._points, ends)]  # noqa: B905
        for n in firm.keys() | usual.keys():
            rows[n] = self._decision(rows[n], firm.get(n, []), usual.get(n, []))
        if days:
            for n, (_point, _keep, _reasons, ended, end) in enumerate(rows):
                if end is not None and end <= self._now and n not in firm:
                    rows[n] = rows[n]._replace(keep=False, ended=(*ended, Reason(Why.ERASE_AFTER, end)))
        return rows

    def _decision(self, row: Decision, firm: list[Reason], usual: list[Reason]) -> Decision:
        erased = row.erase is not None and row.erase <= self._now  # then no rule keeps it any more
        alive = [reason for reason in usual if self._lasts(reason) and not erased]
        ended = tuple(reason for reason in usual if erased or not self._lasts(reason))
        return row._replace(keep=bool(alive or firm), reasons=(*alive, *firm), ended=ended)

    def _lasts(self, reason: Reason) -> bool:
        if reason.why is Why.RECENT:
            return True  # it was looked at by the time of the store, which doesn't stop
        return reason.until is None or reason.until > self.clock


def stopped(points: Sequence[Fact], policy: Policy, now: int) -> int | None:
    """The time (ns) at which the rules stand still, since no point followed; None if they don't."""
    if policy.unknown or not policy.is_complete:
        return None
    clock = _Reasons(points, policy, now).clock
    return None if clock // SECOND >= now // SECOND else clock
