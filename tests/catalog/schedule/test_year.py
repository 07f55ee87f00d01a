"""A year of a laptop, and the weeks of a server's and a database host's year in which things happen.

All of it is in the soak. Every slot is accounted for, the points are those that the policy wants, and the alerts
are exactly those in the golden files `years/*.txt`.

`REGENERATE=1 python -m pytest tests/catalog/schedule/test_year.py` writes these anew; read the difference.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from catalog.notify.event import Severity, What
from catalog.retention.decide import decide
from catalog.schedule.history import Ran
from tests.catalog.schedule.lives import Database, DatabaseYear, Laptop, Server, ServerInAutumn, ServerInSpring
from tests.kit.simulated import DAY, STEP, Life, Machine, kept_of

GOLDEN = Path(__file__).parent / "years"


@pytest.fixture(autouse=True)
def _home_zone() -> Iterator[None]:
    before = os.environ.get("TZ")
    yield
    if before is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize("life", [Laptop, ServerInSpring, ServerInAutumn, Database])
def test_a_year(life: type[Life], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(life(), tmp_path, monkeypatch)
    machine.live()
    fates = accounted(machine)
    retained(machine)
    alerted(machine)
    text = "\n".join([*table(machine, fates), "", *alerts(machine), "", *points(machine), ""])
    path = GOLDEN / f"{machine.life.name}.txt"
    if os.environ.get("REGENERATE"):
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("life", [Server, DatabaseYear])
def test_a_whole_year(life: type[Life], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The laws hold in all of the year, too."""
    machine = Machine(life(), tmp_path, monkeypatch)
    machine.live()
    accounted(machine)
    retained(machine)
    alerted(machine)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_each_tick_of_a_year(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `test_a_year`, but with all the ticks in which nothing happens: then some things happen earlier."""
    life = Laptop()
    monkeypatch.setattr(life, "stride", STEP)
    monkeypatch.setattr(life, "restless", STEP)
    machine = Machine(life, tmp_path, monkeypatch)
    machine.live()
    accounted(machine)
    retained(machine)
    alerted(machine)


# --- laws -------------------------------------------------------------------------------------------------


def accounted(machine: Machine) -> dict[int, str]:
    """What became of each slot of the plan's first zone. Checks what each run says of the slots that it serves."""
    rows = [ran for ran in machine.rows.values() if ran.kind == "backup"]
    traces: dict[int, list[Ran]] = {}
    for ran in rows:
        traces.setdefault(ran.slot, []).append(ran)
    covered, fates = machine.life.start, dict[int, str]()  # the plan counts from there
    pause = machine.life.plan_at(machine.life.stop - 1).paused
    for ran in machine.successes():
        slots = machine.slots_in(machine.zone_of[ran.id])
        begun = [slot for slot in slots if slot <= ran.started]
        assert begun and ran.slot == begun[-1], "a run serves the newest slot"
        paused = pause.until if pause is not None and pause.until <= ran.started else 0
        between = [slot for slot in begun if covered < slot < ran.slot]
        untraced = [slot for slot in between if slot > paused and slot not in traces]
        if not ran.ahead and ran.slot > covered:
            assert ran.missed == len(untraced), (ran, untraced)
        for slot in between:
            others = traces.get(slot, [])
            words = {other.reason or other.outcome for other in others if other.outcome != "completed"}
            is_paused = pause is not None and pause.since <= slot <= pause.until
            fates.setdefault(slot, "paused" if is_paused else min(words, default="credited"))
        fates[ran.slot] = "served"
        covered = max(covered, ran.slot, ran.started)
    twice = [slot for slot, n in Counter(ran.slot for ran in machine.successes() if not ran.ahead).items() if n > 1]
    assert not twice, "no slot is served twice"
    return fates


def retained(machine: Machine) -> None:
    """The points that are left, after pruning by and by, are those that the policy wants of all there ever were."""
    assert {p.id for p in machine.points} == kept_of(machine.ever, machine.life.policy, machine.true)


def alerted(machine: Machine) -> None:
    """An alert opens once, is reminded of while it is open, at growing intervals, and ends once."""
    opened, reminded = dict[str, int](), Counter[str]()
    for at, event in machine.told:
        match event.what:
            case What.OPENED:
                assert event.key not in opened, event
                if event.severity is not Severity.INFO:
                    opened[event.key] = at
                    reminded[event.key] = 0
            case What.REMINDED:
                reminded[event.key] += 1
                days = (at - opened[event.key]) / DAY
                assert reminded[event.key] <= 2 + (days >= 1) + (days >= 3) + days // 7, event
            case What.RESOLVED:
                del opened[event.key]


# --- what the golden files say ----------------------------------------------------------------------------


def local(instant: int, zone: str) -> str:
    return f"{dt.datetime.fromtimestamp(instant // 10**9, ZoneInfo(zone)):%Y-%m-%d %H:%M}"


def table(machine: Machine, fates: dict[int, str]) -> list[str]:
    """How many slots of each month were served, made up for, skipped and for which reason."""
    life = machine.life
    lines = [f"slots of the {life.name}, {life.zone}"]
    months: dict[str, Counter[str]] = {}
    for slot in machine.slots_in(life.zone):
        fate = fates.get(slot, "of another zone" if slot < machine.ever[-1].time else "to come")
        months.setdefault(local(slot, life.zone)[:7], Counter())[fate] += 1
    for month, counts in months.items():
        words = ", ".join(f"{number} {fate}" for fate, number in sorted(counts.items()))
        lines.append(f"{month}  {sum(counts.values()):3}: {words}")
    return lines


def alerts(machine: Machine) -> list[str]:
    lines = ["alerts"]
    for at, e in machine.told:
        text = f"{e.text}" if e.what is not What.RESOLVED else ""
        lines.append(f"{local(at, machine.life.zone)}  {e.what:8}  {e.severity:8}  {e.alert:16}  {text}".rstrip())
    return lines


def points(machine: Machine) -> list[str]:
    lines = [f"points on {local(machine.true, machine.life.zone)}"]
    for found in decide(machine.points, machine.life.policy, (), machine.true):
        why = " ".join(str(reason.why) for reason in found.reasons)
        lines.append(f"{local(found.point.time, machine.life.zone)}  {why}")
    return lines
