"""The lives of three machines in 2025, for test_year.py."""

from __future__ import annotations

import os
import random
import time
from bisect import bisect_right
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import msgspec

from catalog.errors import Damaged, LocalError, RpdriveError, StoreFull, StoreUnreachable
from catalog.format.plan import Care, Pause, Schedule
from catalog.format.retention import RetentionRule
from catalog.plans.effective import Conditions, Plan
from catalog.retention.policy import Policy
from catalog.retention.slots import Unit
from tests.kit.simulated import DAY, HOUR, MINUTE, STEP, Killed, Life, PowerCut, Span, at

BERLIN, NEW_YORK, KOLKATA = "Europe/Berlin", "America/New_York", "Asia/Kolkata"


def keeps(zone: str, *, hourly: int = 0, **rules: RetentionRule) -> Policy:
    return Policy(zone=ZoneInfo(zone), rules={Unit(name): rule for name, rule in rules.items()}, hourly=hourly)


def _in(spans: Sequence[Span], instant: int) -> bool:
    return any(instant in span for span in spans)


class Laptop(Life):
    """Saves at 21:00 by mains and a free network, sleeps at night and on some evenings, and travels.

    In New York its plan stays as it was, in India somebody changes its zone.
    """

    name = "laptop"
    plan = Plan(
        zone=BERLIN, schedule=Schedule(times=[21 * 60]),
        conditions=Conditions(ac_power=True, unmetered=True, at_most=3),
    )  # fmt: skip
    upkeep = Plan(zone=BERLIN, prune=Care(every=24), check_1=Care(every=168), restore_test=Care(every=720))
    policy = keeps(
        BERLIN, daily=RetentionRule(keep=30), weekly=RetentionRule(keep=12, weekdays=[7]),
        monthly=RetentionRule(keep=12, days=[31]), yearly=RetentionRule(keep=3),
    )  # fmt: skip
    may_prune = False
    america = Span(at("2025-04-10T10:00"), at("2025-05-05T08:00"))
    india = Span(at("2025-07-01T20:00"), at("2025-07-20T09:00"))
    replanned = Span(at("2025-07-03T05:00"), at("2025-07-21T12:00"))
    holiday = Pause(since=at("2025-08-02T07:00"), until=at("2025-08-16T22:00"), reason="holiday")
    drawer = Span(at("2025-09-03T07:00"), at("2025-09-14T07:10"))
    roaming = (Span(america.start, america.start + 2 * DAY),)
    unplugged = (Span(at("2025-11-03T06:00"), at("2025-11-09T06:00")), Span(india.start, india.start + DAY))

    def __init__(self) -> None:
        chance, self.awake = random.Random(2025), list[Span]()
        for n in range(366):
            midnight = self.start + n * DAY - self.ahead(self.start + n * DAY)
            up = midnight + (7 * 60 + chance.randrange(0, 180, 5)) * MINUTE
            down = midnight + (19 * 60 + chance.randrange(0, 300, 5)) * MINUTE
            if chance.random() < 0.15 or up in self.drawer:
                continue  # not opened on this day
            lunch = midnight + 13 * HOUR
            self.awake += [Span(up, lunch), Span(lunch + HOUR, down)]

    def place(self, time: int) -> str:
        return NEW_YORK if time in self.america else KOLKATA if time in self.india else BERLIN

    def ahead(self, time: int) -> int:
        """How far the wall there is ahead of UTC, about."""
        return {NEW_YORK: -4 * HOUR, KOLKATA: 330 * MINUTE}.get(self.place(time), HOUR)

    def is_awake(self, time: int) -> bool:
        n = bisect_right(self.awake, Span(time, self.stop * 2))
        return n > 0 and time in self.awake[n - 1]

    def moments(self) -> list[int]:
        return [span.start for span in self.awake]

    def on_battery(self, time: int) -> bool:
        return _in(self.unplugged, time)

    def metered(self, time: int) -> bool:
        return _in(self.roaming, time)

    def plan_at(self, time: int) -> Plan:
        pause = self.holiday if time >= self.holiday.since - DAY else None
        zone = KOLKATA if time in self.replanned else BERLIN
        return msgspec.structs.replace(self.plan, zone=zone, paused=pause)

    def travel(self, time: int) -> None:
        set_zone(self.place(time))


class Server(Life):
    """Saves at 02:30, which one night does not have and another one has twice, and three times more.

    Its store is away for a week, it is off for a month, and its clock is set back once.
    """

    name = "server"
    plan = Plan(zone=BERLIN, schedule=Schedule(times=[150, 510, 870, 1230]), spread=0)
    upkeep = Plan(
        zone=BERLIN, prune=Care(every=24), check_1=Care(every=168), check_2=Care(every=24), check_3=Care(every=720),
        restore_test=Care(every=168),
    )  # fmt: skip
    policy = keeps(
        BERLIN, daily=RetentionRule(keep=14, times=[150]), weekly=RetentionRule(keep=8),
        monthly=RetentionRule(keep=12, weeks=[5], weekdays=[7]),
        yearly=RetentionRule(keep=5, months=[3], days=[30]),
    )  # fmt: skip
    away = Span(at("2025-02-10T09:00"), at("2025-02-17T11:00"))
    off = Span(at("2025-06-01T00:00"), at("2025-07-01T06:00"))
    wrong = Span(at("2025-10-05T10:00"), at("2025-10-05T15:00"))
    back = 2 * DAY

    def is_awake(self, time: int) -> bool:
        return time not in self.off

    def moments(self) -> list[int]:
        ends = [*self.away, *self.off, *self.wrong]
        hours = range(self.away.start, self.away.end, 2 * HOUR)
        return [*(end + n * STEP for end in ends for n in range(5)), *hours]

    def reach(self, time: int) -> RpdriveError | None:
        return StoreUnreachable("the store does not answer", "wait") if time in self.away else None

    def wall_error(self, time: int) -> int:
        return -self.back if time in self.wrong else 0

    def fate(self, kind: str, number: int, time: int) -> BaseException | None:
        if kind == "backup" and number == 300:
            return Killed()
        if kind == "backup" and number == 400:
            return PowerCut()
        if kind == "check" and 200 <= number < 202:
            return Damaged("packs/ab is malformed", "repair it")
        return None


class ServerInSpring(Server):
    """Two months of it, with a night without 02:30, for every run of the tests."""

    name = "server-spring"
    start, stop = at("2025-02-08T00:00"), at("2025-04-04T00:00")

    def fate(self, kind: str, number: int, time: int) -> BaseException | None:
        return {60: Killed(), 100: PowerCut()}.get(number) if kind == "backup" else super().fate(kind, number, time)


class ServerInAutumn(Server):
    """Five weeks, with a night with two 02:30, and a clock that is set back."""

    name = "server-autumn"
    start, stop = at("2025-10-01T00:00"), at("2025-10-31T00:00")


class Database(Life):
    """Saves each hour. Jobs fail twice and then work, a store fills up for three days, a job is killed, and one
    lasts longer than an hour."""

    name = "database"
    start, stop = at("2025-03-04T00:00"), at("2025-03-18T00:00")
    plan = Plan(zone=BERLIN, schedule=Schedule(every=60), spread=10)
    upkeep = Plan(zone=BERLIN, prune=Care(every=24), check_1=Care(every=24))
    policy = keeps(BERLIN, hourly=48, daily=RetentionRule(keep=14), weekly=RetentionRule(keep=8))
    stride, restless = HOUR, STEP
    full = Span(at("2025-03-10T04:30"), at("2025-03-12T16:00"))

    def lasts(self, kind: str, number: int) -> int:
        return 190 * MINUTE if (kind, number) == ("backup", 200) else 4 * MINUTE

    def fate(self, kind: str, number: int, time: int) -> BaseException | None:
        if kind != "backup":
            return None
        if time in self.full:
            return StoreFull("the vault's disk is full", "make room")
        if number in (30, 31):
            return LocalError("the dump failed", "see its log")
        return Killed() if number == 60 else None


class DatabaseYear(Database):
    """The same for a year."""

    start, stop = at("2025-01-01T00:00"), at("2026-01-01T00:00")


def set_zone(zone: str) -> None:
    """Make it this machine's time zone."""
    if os.environ.get("TZ") != zone:
        os.environ["TZ"] = zone
        time.tzset()
