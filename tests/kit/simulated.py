"""A machine that lives through simulated time: the real tick, runner, calendar, history and alerts; no vault.

Time passes only here. What jobs would do in a vault is a table of outcomes; all else is the code that runs for
users, on the files of a state folder. `slots_of_walls` and `kept_of` are a second opinion, slow and simple.
"""

from __future__ import annotations

import datetime as dt
import os
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any, NamedTuple, cast
from zoneinfo import ZoneInfo

import msgspec
import pytest

import catalog.schedule.tick as ticking
from backup.scheduled import Edge as RunnerEdge
from backup.scheduled import _Opened, _Runner
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import AccessDenied, RpdriveError
from catalog.format.retention import RetentionRule
from catalog.notify.event import Event
from catalog.notify.notifier import Notifier
from catalog.plans.effective import Plan
from catalog.plans.local import LocalItem, LocalPlans, LocalVault
from catalog.program import HOME
from catalog.retention.decide import Fact, decide
from catalog.retention.policy import Policy
from catalog.retention.slots import Unit
from catalog.schedule.agenda import Work
from catalog.schedule.conditions import Facts
from catalog.schedule.history import History, Ran
from catalog.schedule.noted import begin, end
from catalog.systems.this import SYSTEM
from catalog.vault import Vault
from tests.kit.independent.retention import holders

MINUTE = 60 * 10**9  # ns
HOUR, DAY = 60 * MINUTE, 1440 * MINUTE
STEP = 5 * MINUTE
VAULT, MACHINE, ITEM = "aa" * 16, "bb" * 16, "cc" * 16


class PowerCut(BaseException):
    """The machine is off at once; nothing is noted any more."""


class Killed(BaseException):
    """The process of the jobs is gone; nothing is noted any more."""


def at(text: str, zone: str = "UTC") -> int:
    """The instant (ns) of a local time."""
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 10**9


class Span(NamedTuple):
    """From an instant to another one (ns)."""

    start: int
    end: int

    def __contains__(self, time: object) -> bool:
        return isinstance(time, int) and self.start <= time < self.end


class Life:
    """What happens to a machine, by true time (ns). Each kind of machine overrides some of it."""

    name, zone = "machine", "Europe/Berlin"
    start, stop = at("2025-01-01T00:00"), at("2026-01-01T00:00")
    plan, upkeep, policy = Plan(), Plan(), Policy()
    stride, restless = 6 * HOUR, 2 * STEP  # between ticks, and while a backup is missing: not as long as a sleep
    may_prune = True

    def is_awake(self, time: int) -> bool:
        return True

    def moments(self) -> list[int]:
        """Further times to tick at."""
        return []

    def on_battery(self, time: int) -> bool:
        return False

    def metered(self, time: int) -> bool:
        return False

    def reach(self, time: int) -> RpdriveError | None:
        """Why the vault can't be opened."""
        return None

    def fate(self, kind: str, number: int, time: int) -> BaseException | None:
        """How a run ends, the `number`-th of its kind."""
        return None

    def lasts(self, kind: str, number: int) -> int:
        return 7 * MINUTE

    def plan_at(self, time: int) -> Plan:
        """What the vault says then; this machine knows it once it opens the vault."""
        return self.plan

    def wall_error(self, time: int) -> int:
        """How far the machine's clock is off (ns)."""
        return 0

    def travel(self, time: int) -> None:
        """The machine is now where it is at that time."""


class Machine:
    """Lives a Life in a home of its own."""

    def __init__(self, life: Life, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.life, self.true = life, life.start
        self.settings = Settings({HOME: str(home)})
        self.state = self.settings.state
        self.boots, self.child = 1, 0
        self.told: list[tuple[int, Event]] = []
        self.open = set[str]()  # keys of alerts
        self.numbers: Counter[str] = Counter()
        self.points: list[Fact] = []  # those that are left
        self.ever: list[Fact] = []
        self.zone_of: dict[str, str] = {}  # the plan's zone, by run
        self.slots: dict[str, list[int]] = {}
        self.rows: dict[str, Ran] = {}
        self.known = LocalVault(
            vault=VAULT, address="file:///vault", machine=MACHINE, machine_name=life.name, fetched=life.start,
            since=life.start, plan=life.upkeep,
            items=[LocalItem(id=ITEM, name="data", plan=life.plan, since=life.start)],
        )  # fmt: skip
        LocalPlans(self.state).save(self.known)
        monkeypatch.setattr(SYSTEM, "boot_id", lambda: f"boot-{self.boots}", raising=False)
        monkeypatch.setattr(SYSTEM, "process_start", lambda _pid: f"child-{self.child}", raising=False)
        monkeypatch.setattr("catalog.notify.notifier.Notifier", self._notifier)
        monkeypatch.setattr(
            History, "_read", lambda _history, lines=_Lines(self.state / "runs.jsonl"): lines.read()
        )
        monkeypatch.setattr("os.fsync", lambda _descriptor: None)  # no power is cut but by this test
        self.facts = Facts(lambda: life.on_battery(self.true), lambda: life.metered(self.true), lambda: None)

    def now(self) -> int:
        """What the machine's clock says."""
        return self.true + self.life.wall_error(self.true)

    # --- time ---------------------------------------------------------------------------------------------

    def live(self) -> None:
        life = self.life
        edge = ticking.Edge(self.now, self.facts, lambda: _Child(self), lambda: self.true / 10**9)
        moments = sorted({-(-m // STEP) * STEP for m in [*life.moments(), *self._slot_moments()]})
        week = 0
        while self.true < life.stop:
            life.travel(self.true)
            before = self.child
            if life.is_awake(self.true):
                try:
                    ticking.tick(self.settings, edge)
                except PowerCut:
                    self.boots, self.child, self.true = self.boots + 1, self.child + 1, self.true + 20 * MINUTE
            if self.true > week:
                week = self.true + 7 * DAY
                self._remember()
                if self.ever and not life.may_prune:
                    self.prune()  # by another machine
            has_news = self.child != before and self.open
            self.true = self.true // STEP * STEP + STEP if has_news else self._next(moments)
        self._remember()
        self.prune()

    def _remember(self) -> None:
        self.rows |= {ran.id: ran for ran in History(self.state).all()}

    def _slot_moments(self) -> list[int]:
        found = list[int]()
        for slot in self.slots_in(self.life.zone):
            found += [slot, slot + 2 * STEP]
        return found

    def _next(self, moments: Sequence[int]) -> int:
        grid = self.true // STEP * STEP + STEP
        can_be = self._is_missing() and self.life.reach(self.true) is None
        stride = self.life.restless if can_be else self.life.stride
        n = bisect_right(moments, self.true)
        coming = moments[n] if n < len(moments) else self.life.stop
        return max(min(grid - STEP + stride, coming), grid)

    def _is_missing(self) -> bool:
        slots = self.slots_in(self.known.items[0].plan.zone or "UTC")
        n = bisect_right(slots, self.true)
        last = self.ever[-1].modified if self.ever else 0
        return n > 0 and last < slots[n - 1]

    def slots_in(self, zone: str) -> list[int]:
        if zone not in self.slots:
            schedule = self.life.plan.schedule
            assert schedule is not None
            if schedule.every:
                step = schedule.every * MINUTE
                self.slots[zone] = list(range(-(-self.life.start // step) * step, self.life.stop, step))
            else:
                self.slots[zone] = slots_of_walls(zone, schedule.times, self.life.start, self.life.stop)
        return self.slots[zone]

    # --- jobs ---------------------------------------------------------------------------------------------

    def _notifier(self, config: Path, state: Path) -> Notifier:
        machine = self

        class Heard(Notifier):
            def send(self, events: Sequence[Event], now: int) -> list[Event]:
                machine.told += [(machine.true, event) for event in events]
                for event in events:
                    (machine.open.add if event.what == "opened" else machine.open.discard)(event.key)
                return []

        return Heard(config, state)

    def refresh(self) -> None:
        """As the vault's plans are read anew."""
        item = msgspec.structs.replace(self.known.items[0], plan=self.life.plan_at(self.true))
        self.known = msgspec.structs.replace(self.known, fetched=self.now(), items=[item])
        LocalPlans(self.state).save(self.known)

    def job(self, work: Work, sleep: Callable[[int], None]) -> int:
        kind = work.duty.kind
        if kind == "refresh":
            return 0
        if kind == "prune" and not self.life.may_prune:
            raise AccessDenied("this machine may not delete", "let another one prune")
        self.numbers[kind] += 1
        number = self.numbers[kind]
        fate, lasts, began = self.life.fate(kind, number, self.true), self.life.lasts(kind, number), self.now()
        item = work.item
        ran = begin(self.state, Ran(
            id=f"{kind[:4]}-{number:06}", vault=VAULT, machine=MACHINE, kind=kind, level=work.duty.level,
            item=item.id if item else "", item_name=item.name if item else "", started=began,
        ))  # fmt: skip
        self.zone_of[ran.id] = work.plan.zone or "UTC"
        sleep(lasts)
        if isinstance(fate, PowerCut | Killed):
            raise fate
        if fate is not None:
            end(self.state, ran, outcome="failed", finished=self.now(), cause=type(fate).__name__, error=str(fate))
            raise fate
        if kind == "backup":
            self._made(began)
        if kind == "prune":
            self.prune()
        end(self.state, ran, outcome="completed", finished=self.now(), files=100, new_bytes=1 << 20)
        return 0

    def _made(self, began: int) -> None:
        number = len(self.ever) + 1
        point = Fact(number.to_bytes(16, "big"), number, began, self.true)
        self.points.append(point)
        self.ever.append(point)

    def prune(self) -> None:
        """Remove what the policy does not want, by true time."""
        self.points = [d.point for d in decide(self.points, self.life.policy, (), self.true) if d.keep]

    # --- what is left of it -------------------------------------------------------------------------------

    def successes(self) -> list[Ran]:
        rows = [r for r in self.rows.values() if r.kind == "backup" and r.outcome == "completed"]
        return sorted(rows, key=lambda ran: ran.id)  # as they really came, whatever the clock said


class _Lines:
    """The file of the history, of which only what is new is decoded: each of thousands of ticks reads it twice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at, self._inode, self._found = 0, 0, dict[str, Ran]()
        self._decode = msgspec.json.Decoder(Ran).decode

    def read(self) -> dict[str, Ran]:
        path = self._path
        if not path.exists():
            return {}
        with path.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            if inode != self._inode:
                self._at, self._inode, self._found = 0, inode, {}
            file.seek(self._at)
            for line in file.read().split(b"\n"):
                if line:
                    ran = self._decode(line)
                    self._found[ran.id] = ran
            self._at = file.tell()
        return dict(self._found)


class _Child:
    """The process of the jobs. It and the tick take turns: exactly one of them runs at any time."""

    def __init__(self, machine: Machine) -> None:
        machine.child += 1
        self._machine, self._deadline, self._has_ended = machine, 0, False
        self._error: BaseException | None = None
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._go.acquire()
        machine = self._machine
        try:
            _Simulated(machine, self._sleep).run()
        except Killed:
            machine.child += 1
        except BaseException as e:  # noqa: BLE001 - raised again in the tick
            self._error = e
        self._has_ended = True
        self._back.release()

    def _sleep(self, length: int) -> None:
        machine, until = self._machine, self._machine.true + length
        while until > self._deadline:
            machine.true = max(machine.true, self._deadline)
            self._back.release()
            self._go.acquire()
        machine.true = max(machine.true, until)

    def wait(self, timeout: float | None = None) -> int:
        assert timeout is not None
        self._deadline = self._machine.true + int(timeout * 10**9)
        self._go.release()
        self._back.acquire()
        if self._error is not None:
            raise self._error
        if not self._has_ended:
            raise TimeoutExpired("run-due", timeout)
        return 0

    def send_signal(self, sig: int) -> None:
        raise AssertionError("the jobs got on")

    def kill(self) -> None:
        raise AssertionError("the jobs got on")


class _Simulated(_Runner):
    """The real runner, but for the vault."""

    def __init__(self, machine: Machine, sleep: Callable[[int], None]) -> None:
        edge = RunnerEdge(machine.now, lambda seconds: None, machine.facts)
        super().__init__(cast(Session, None), machine.state, edge)
        self._machine, self._sleep = machine, sleep

    def _open(self, work: Work) -> Any:
        error = self._machine.life.reach(self._machine.true)
        if error is not None:
            return error
        self._machine.refresh()
        return _Opened(cast(Session, None), cast(Vault, None))

    def _look(self) -> None:
        """There is no vault to look at."""

    def _job(self, work: Work, opened: object) -> int:
        return self._machine.job(work, self._sleep)


# --- a second opinion -------------------------------------------------------------------------------------


def slots_of_walls(zone: str, minutes: Sequence[int], start: int, stop: int) -> list[int]:
    """The first instants at which the clock on the wall shows each time, or has passed over it; by looking at it
    every five minutes."""
    info, found = ZoneInfo(zone), list[int]()
    day = dt.datetime.fromtimestamp(start // 10**9, info).date()
    wanted = [
        dt.datetime.combine(day + dt.timedelta(days=n), dt.time(m // 60, m % 60))
        for n in range((stop - start) // DAY + 2) for m in minutes
    ]  # fmt: skip
    n = 0
    for time in range(start - DAY, stop, STEP):
        wall = dt.datetime.fromtimestamp(time // 10**9, info).replace(tzinfo=None)
        while n < len(wanted) and wanted[n] <= wall:
            found.append(time)
            n += 1
    return [slot for slot in found if slot >= start]


def kept_of(ever: Sequence[Fact], policy: Policy, now: int) -> set[bytes]:
    """The points that a policy wants of all that were ever made, by the independent reader's slots."""
    zone = policy.zone
    assert zone is not None
    rows = [(p.sequence, p.time, p.modified, p.id) for p in ever]
    trusted = [p for p in ever if abs(p.time - p.modified) <= 36 * HOUR]
    settled = [p for p in trusted if p.modified <= now - DAY]
    finest = min({"daily": 1, "weekly": 7, "monthly": 31, "yearly": 366}[unit] for unit in policy.rules)
    clock = min(now, max(p.time for p in settled) + 2 * finest * DAY)
    kept = {ever[-1].id, trusted[-1].id, settled[-1].id} | {p.id for p in ever if p.modified > now - DAY}
    for unit, rule in policy.rules.items():
        found = holders(rows, str(unit), _fields(rule), zone)
        kept |= {ident for _start, (_number, until, ident) in found.items() if until > clock}
    first = dict[int, Fact]()
    for point in sorted(trusted, key=lambda p: (p.modified, p.sequence)):
        first.setdefault(point.time // HOUR, point)  # for zones of whole hours
    kept |= {p.id for hour, p in first.items() if (hour + policy.hourly) * HOUR > clock and policy.hourly}
    if Unit.YEARLY in policy.rules:  # a time that the store's clock denies: kept as long as the longest rule would
        kept |= {p.id for p in ever if p not in trusted}
    if policy.last:
        kept |= {p.id for p in [*trusted[-policy.last :], *settled[-policy.last :]]}
    return kept


def _fields(rule: RetentionRule) -> dict[str, Any]:
    return {name: getattr(rule, name) for name in RetentionRule.__struct_fields__}
