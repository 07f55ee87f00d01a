"""The tick beside its child: one at a time, a child that hangs, what goes on meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from catalog.access.settings import Settings
from catalog.errors import LocalError
from catalog.format.plan import Schedule
from catalog.plans.effective import Plan
from catalog.plans.local import LocalItem, LocalPlans, LocalVault
from catalog.schedule import tick as module
from catalog.schedule.conditions import Facts
from catalog.schedule.due import STILL_RUNNING
from catalog.schedule.history import History, Ran
from catalog.schedule.marks import Marks, single
from catalog.schedule.slots import DAY, HOUR, MINUTE
from catalog.schedule.tick import HUNG, Edge, tick
from tests.kit.cli import ROOT

NOON = 1_793_620_800 * 10**9  # 2026-11-02T12:00Z
FREE = Facts(lambda: None, lambda: None, lambda: None)


class Child:
    """A child at work; each wait takes five minutes of the world's clock. It ends after `waits`, or never."""

    def __init__(self, world: World, waits: int | None, obeys: bool = True, pace: int = 1) -> None:
        self.world, self.waits, self.obeys, self.pace = world, waits, obeys, pace
        self.signals: list[object] = []

    def wait(self, timeout: float | None = None) -> int:
        if "killed" in self.signals or (self.obeys and signal.SIGINT in self.signals):
            return -2
        if self.waits is not None and self.waits <= 0:
            return 0
        assert timeout is not None
        self.world.now += int(timeout) * 10**9
        self.world.steady += timeout * self.pace
        if self.waits is not None:
            self.waits -= 1
        raise subprocess.TimeoutExpired("run-due", timeout)

    def send_signal(self, sig: int) -> None:
        self.signals.append(sig)

    def kill(self) -> None:
        self.signals.append("killed")


class World:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.steady, self.duties = NOON, 0.0, 0
        self.settings = Settings({"RPDRIVE_HOME": str(folder)})
        self.state, self.started, self.child = self.settings.state, 0, Child(self, 0)
        plan = Plan(zone="UTC", paths=(b"/home",), schedule=Schedule(every=30), spread=0)
        LocalPlans(self.state).save(LocalVault(
            vault="aa" * 16, address="file:///nowhere", machine="bb" * 16, machine_name="m", fetched=NOON, since=1,
            items=[LocalItem(id="cc" * 16, name="home", plan=plan, since=1)],
        ))  # fmt: skip
        monkeypatch.setattr(module, "local_duties", self._duties)

    def _duties(self, settings: Settings, now: int) -> None:
        self.duties += 1

    def _start(self) -> Child:
        self.started += 1
        return self.child

    def tick(self) -> int:
        return tick(self.settings, Edge(lambda: self.now, FREE, self._start, lambda: self.steady))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_it_waits_for_its_child_and_goes_on_with_its_duties(world: World) -> None:
    world.child = Child(world, 8)
    History(world.state).started(Ran(
        id="1" * 32, vault="aa" * 16, item="cc" * 16, kind="backup", started=NOON + MINUTE, slot=NOON
    ))  # fmt: skip
    assert world.tick() == 0 and world.started == 0, "a backup is at work already"
    History(world.state).add(Ran(
        id="1" * 32, vault="aa" * 16, item="cc" * 16, kind="backup", started=NOON - DAY, outcome="completed"
    ))  # fmt: skip
    world.duties = 0
    assert world.tick() == 0 and (world.started, world.duties) == (1, 9)
    assert Marks.read(world.state) == Marks(world.now, Marks.read(world.state).boot, 0), "no sleep meanwhile"


def test_slots_that_come_while_a_backup_is_at_work_are_noted_once(world: World) -> None:
    here = History(world.state)
    at_work = here.started(
        Ran(id="1" * 32, vault="aa" * 16, item="cc" * 16, kind="backup", started=NOON, slot=NOON)
    )
    for _ in range(13):
        world.tick()
        world.now += 5 * MINUTE
    skips = [ran for ran in here.all() if ran.outcome == "skipped"]
    assert [(ran.slot, ran.reason) for ran in skips] == [(NOON + n * HOUR // 2, STILL_RUNNING) for n in (1, 2)]
    assert world.started == 0
    here.add(Ran(**{name: getattr(at_work, name) for name in at_work.__struct_fields__} | {
        "outcome": "completed", "finished": NOON + HOUR + MINUTE
    }))  # fmt: skip
    world.tick()
    assert world.started == 0, "they are served by it"
    world.now = NOON + 3 * HOUR // 2
    world.tick()
    assert world.started == 1


def test_two_ticks_at_once(world: World) -> None:
    with single(world.state / "tick.lock") as is_alone:
        assert is_alone and world.tick() == 0
    assert (world.started, world.duties) == (0, 1)
    assert world.tick() == 0 and world.started == 1


@pytest.mark.parametrize("obeys", [True, False])
def test_a_child_that_hangs_is_stopped(world: World, obeys: bool, capfd: pytest.CaptureFixture[str]) -> None:
    world.child = Child(world, None, obeys, pace=24)  # two hours a wait
    assert world.tick() == -2
    assert HUNG <= world.steady <= HUNG + 6 * 3600
    assert world.child.signals == ([signal.SIGINT] if obeys else [signal.SIGINT, "killed"])
    assert "did not get on for 24 hours" in capfd.readouterr().err


def test_a_clock_that_jumps_stops_no_child(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.child = Child(world, 3)
    wait = world.child.wait

    def jump(timeout: float | None = None) -> int:
        world.now += 40 * DAY
        return wait(timeout)

    monkeypatch.setattr(world.child, "wait", jump)
    assert world.tick() == 0 and world.child.signals == []


def test_without_a_state_folder_or_with_a_broken_one(tmp_path: Path) -> None:
    settings = Settings({"RPDRIVE_HOME": str(tmp_path / "none")})
    assert tick(settings) == 0 and not (tmp_path / "none").exists()
    settings = Settings({"RPDRIVE_HOME": str(tmp_path)})
    (settings.state / "tick.lock").mkdir()
    with pytest.raises(LocalError, match="can't be locked"):
        tick(settings)
    os.rmdir(settings.state / "tick.lock")
    (settings.state / "plans").write_text("not a folder")
    (settings.state / "runs.jsonl").mkdir()
    assert tick(settings) == 0


HEAVY = (
    "catalog.store", "catalog.vault", "catalog.access.session", "cryptography", "typer", "ssl", "azure", "rich",
    "asyncio", "http.client", "email", "zstandard", "backup", "mount", "cache",
)  # fmt: skip
CODE = """
import sys
from catalog.access.settings import Settings
from catalog.schedule.tick import tick
def audit(event, args):
    assert event not in ("socket.connect", "subprocess.Popen", "os.posix_spawn", "os.fork"), (event, args)
sys.addaudithook(audit)
assert tick(Settings()) == 0
print(*sys.modules)
"""


def test_a_tick_with_nothing_to_do_loads_little_and_asks_nobody(world: World) -> None:
    found = LocalPlans(world.state).all().vaults[0]
    found.since = found.items[0].since = found.fetched = time.time_ns()
    LocalPlans(world.state).save(found)
    History(world.state).add(Ran(id="1" * 32, vault="aa" * 16, kind="restore", started=NOON, outcome="failed"))
    done = subprocess.run(
        [sys.executable, "-c", CODE], env={"RPDRIVE_HOME": str(world.state.parent), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    loaded = {
        name for name in done.stdout.split() if name in HEAVY or name.startswith(tuple(f"{h}." for h in HEAVY))
    }
    assert loaded == set()
