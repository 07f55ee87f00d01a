"""Weeks of a machine that sleeps, fails and runs on battery: every slot is accounted for, once."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec
import pytest

from catalog.format.plan import Care, Schedule
from catalog.plans.effective import Conditions, Plan
from catalog.plans.local import LocalItem, LocalVault
from catalog.schedule.agenda import REFRESH, agenda
from catalog.schedule.conditions import Facts
from catalog.schedule.due import BACKUP
from catalog.schedule.history import Ran
from catalog.schedule.slots import DAY, HOUR, MINUTE, WallSlots

STEP = 20 * MINUTE


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


class Machine:
    """Its jobs take five minutes. Now and then it sleeps for days, and the vault is out of reach."""

    def __init__(self, plan: Plan, begin: int, seed: int) -> None:
        self.plan, self.now, self.chance = plan, begin, random.Random(seed)
        self.vault = LocalVault(
            vault="aa" * 16, address="file:///v", machine="bb" * 16, machine_name="m", fetched=begin, since=begin,
            plan=plan, items=[LocalItem(id="cc" * 16, name="home", plan=plan, since=begin)],
        )  # fmt: skip
        self.rows: dict[str, Ran] = {}
        self.wakes = self.away_until = self.resumed = 0
        self.on_battery = False

    def step(self) -> None:
        self.now += STEP
        self.vault.fetched = self.now
        if self.now < self.wakes:
            return
        if self.wakes:
            self.resumed, self.wakes = self.now, 0
        draw = self.chance.random
        if draw() < 0.006:
            self.wakes = self.now + self.chance.randrange(1, 100) * HOUR
            return
        if draw() < 0.003:
            self.away_until = self.now + self.chance.randrange(1, 60) * HOUR
        self.on_battery ^= draw() < 0.05
        facts = Facts(lambda: self.on_battery, lambda: None, lambda: None)
        found = agenda([self.vault], list(self.rows.values()), self.now, self.resumed, facts)
        for row in found.rows:
            assert row.id not in self.rows, "noted once"
            self.rows[row.id] = row
        for work in found.work:
            assert work.duty != REFRESH, "each job opens the vault"
            good = self.now >= self.away_until and draw() > 0.1
            row = work.row(self.now, "completed" if good else "failed", finished=self.now + 5 * MINUTE)
            earlier = self.rows.get(row.id)
            if earlier is not None:
                assert not good, "a slot is served once"
                row = msgspec.structs.replace(row, started=earlier.started, tries=earlier.tries + 1)
            self.rows[row.id] = row


@pytest.mark.parametrize("catch_up", [True, False])
@pytest.mark.parametrize(
    ("zone", "begin"), [("Europe/Berlin", "2026-03-15"), ("America/New_York", "2026-10-15")]
)  # the clock goes forward, and back
def test_every_slot_is_accounted_for(zone: str, begin: str, catch_up: bool) -> None:
    schedule = Schedule(times=[90, 150, 21 * 60])
    plan = Plan(
        zone=zone, schedule=schedule, spread=15, catch_up=catch_up, prune=Care(every=24),
        conditions=Conditions(ac_power=True, at_most=1),
    )  # fmt: skip
    machine = Machine(plan, at(begin), 7)
    for _ in range(30 * 72):
        machine.step()
    slots, slot = [], at(begin)
    while (found := WallSlots(schedule, ZoneInfo(zone)).next(slot)) is not None and found <= machine.now:
        slots.append(slot := found)
    rows = [row for row in machine.rows.values() if row.kind == BACKUP.kind]
    traced = {row.slot for row in rows}
    good = [row for row in rows if row.outcome == "completed"]
    credited = sum(row.missed for row in rows if row.outcome in ("completed", "missed"))
    pending = [slot for slot in slots if slot > max(traced)]
    assert len(slots) >= 89 and traced <= set(slots)
    assert len(traced) + credited + len(pending) == len(slots)
    outcomes = {row.outcome for row in rows}
    assert {"completed", "failed", "skipped"} <= outcomes and len(good) > 15
    assert not (catch_up and "missed" in outcomes)
    prunes = sorted(row.slot for row in machine.rows.values() if row.kind == "prune" and row.outcome == "completed")
    assert len(prunes) > 5 and all((b - a) % DAY == 0 for a, b in pairwise(prunes))
