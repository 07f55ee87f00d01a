"""The tick and what it starts: real commands, a real vault, and this machine's history."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backup.scheduled import WAITS, Edge, run_due
from catalog import held
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import AccessDenied
from catalog.format.plan import Care, Limit, Schedule
from catalog.plans.effective import Conditions, Plan
from catalog.plans.local import LocalItem, LocalPlans, LocalVault
from catalog.plans.records import Plans, add_plan, next_record, refresh
from catalog.program import main_command
from catalog.schedule.conditions import Facts
from catalog.schedule.due import NO_ROLE
from catalog.schedule.history import DAY, History, Ran
from catalog.schedule.marks import single
from catalog.schedule.slots import HOUR, MINUTE
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from tests.kit.cli import Cli
from tests.kit.faults import UnreachableStore
from tests.kit.planned import plan_item
from tests.kit.vaults import new_vault

FREE = Facts(lambda: None, lambda: None, lambda: None)
# At once: with a spread, what came due just now may wait for some minutes, which depends on the machine's id.
CARE: dict[str, Any] = {
    "prune": Care(every=24), "check_1": Care(every=24, budget=5), "check_2": Care(every=24, percent=50.0),
    "spread": 0,
}  # fmt: skip


@pytest.fixture
def state(rpdrive: Cli) -> Path:
    return rpdrive.home / "state"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "file").write_text("content")
    return folder


@pytest.fixture
def planned(rpdrive: Cli, vault: Vault, source: Path, state: Path) -> LocalVault:
    """A machine with a saved key and a plan, which has made one point by hand; the plan counts for all times."""
    rpdrive.ok("vault", "unlock", "--save")
    rpdrive.ok("backup", source, "--item", "home")
    return plan_item(vault, state, rpdrive, source)


def forget_runs(state: Path) -> None:
    (state / "runs.jsonl").unlink()


def tick(rpdrive: Cli) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        main_command("catalog.schedule.tick"), env=rpdrive.environ, capture_output=True, check=False, timeout=120,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def rows(state: Path) -> list[Ran]:
    return History(state).all()


@pytest.mark.needs_fuse
def test_a_tick_runs_what_is_due_in_order_and_the_next_one_touches_nothing(
    rpdrive: Cli, planned: LocalVault, vault: Vault, state: Path, source: Path
) -> None:
    plans = Plans(vault)
    own = plans.level("machine", planned.machine_name, bytes.fromhex(planned.machine))
    add_plan(vault, own, next_record(own, **CARE, restore_test=Care(every=720)))
    forget_runs(state)
    (source / "new").write_text("new")
    (source / "left.tmp").write_text("out")
    done = tick(rpdrive)  # its copy of the plans has no upkeep yet: what it starts refreshes that
    assert done.returncode == 0, done
    ran = rows(state)
    assert [(r.kind, r.level) for r in ran] == [
        ("backup", 0), ("prune", 0), ("check", 1), ("check", 2), ("restore-test", 0)
    ]  # fmt: skip
    assert {r.outcome for r in ran} == {"completed"} and all(r.slot and r.started >= r.slot for r in ran)
    assert (ran[0].item_name, ran[0].item) == ("home", planned.items[0].id)
    listed = rpdrive.ok("ls", f"latest:{source}")
    assert "new" in listed and "left.tmp" not in listed
    # Nothing is due now: no request, which would fail, and no process.
    rpdrive.vault.rename(rpdrive.vault.with_name("away"))
    done = tick(rpdrive)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert rows(state) == ran


def test_a_pause_without_end_does_not_keep_plans_from_being_read(
    rpdrive: Cli, planned: LocalVault, vault: Vault, state: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody with a key of the vault may write a limit of 0; who takes it back may be far away."""
    never = [Limit(start=0, end=1440, up=0, down=0)]

    def limited(limits: list[Limit], *, is_copied: bool) -> None:
        own = Plans(vault).level("item", "home", bytes.fromhex(planned.items[0].id))
        add_plan(vault, own, next_record(own, throttle=limits))
        if is_copied:
            refresh(vault, planned.address, Settings(rpdrive.environ))
            copy = LocalPlans(state).all().vaults[0]
            items = [msgspec.structs.replace(item, since=0) for item in copy.items]
            plan = msgspec.structs.replace(copy.plan, throttle=tuple(limits))
            LocalPlans(state).save(msgspec.structs.replace(copy, plan=plan, items=items))

    # Taken back while the machine was off: the pause is in its copy only.
    limited(never, is_copied=True)
    limited([], is_copied=False)
    forget_runs(state)
    done = subprocess.run(
        [*main_command("rpdrive"), "run-due"], env=rpdrive.environ, capture_output=True, check=False, timeout=60,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0 and [ran.outcome for ran in rows(state)] == ["completed"], done
    # Taken back while a backup waits.
    limited(never, is_copied=True)
    forget_runs(state)
    monkeypatch.setattr("catalog.throttle.source.FRESH", 0.05)
    session = Session(Settings(rpdrive.environ), vault=planned.address)
    before = held.seconds()
    running = threading.Thread(target=run_due, args=(session, Edge(read_again=0.0, beat=0.05)), daemon=True)
    running.start()
    while held.seconds() == before:
        running.join(0.01)
        assert running.is_alive()
    limited([], is_copied=False)
    running.join(60)
    assert not running.is_alive() and [ran.outcome for ran in rows(state)] == ["completed"]


# --- without a vault --------------------------------------------------------------------------------------

NOON = 1_793_620_800 * 10**9  # 2026-11-02T12:00Z, a Monday
DAILY = Schedule(times=[21 * 60])


class World:
    """A machine with a copy of its plans, a clock that is set, and a vault that is out of reach."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        self.now, self.waits, self.asked = NOON, list[float](), 0
        self.settings = Settings({"RPDRIVE_HOME": str(folder)})
        self.state = self.settings.state
        plan = Plan(zone="UTC", paths=(b"/home",), schedule=DAILY, spread=0, **fields)
        self.local = LocalVault(
            vault="aa" * 16, address="file:///nowhere", machine="bb" * 16, machine_name="m", fetched=NOON,
            since=NOON, items=[LocalItem(id="cc" * 16, name="home", plan=plan, since=NOON)],
        )  # fmt: skip
        LocalPlans(self.state).save(self.local)

    def _open(self, url: str, *, token: str | None = None, endpoint: str | None = None) -> Store:
        self.asked += 1
        return UnreachableStore(MemoryStore())

    def run(self, facts: Facts = FREE) -> int:
        return run_due(Session(self.settings, opener=self._open), Edge(lambda: self.now, self.waits.append, facts))


def test_a_vault_out_of_reach_is_one_row_a_slot_and_ever_fewer_attempts(tmp_path: Path) -> None:
    world = World(tmp_path)
    for _ in range(2 * 24 * 12):  # two days of ticks
        world.now += 5 * MINUTE
        world.run()
    slots = [NOON + 9 * HOUR, NOON + 33 * HOUR]
    found = [r for r in rows(world.state) if r.kind == "backup"]
    assert [(r.slot, r.outcome, r.cause) for r in found] == [(s, "failed", "StoreUnreachable") for s in slots]
    assert [r.tries for r in found] == [10, 8]
    assert found[0].finished > found[0].started + 10 * HOUR
    assert len(world.waits) == world.asked * len(WAITS) and max(world.waits) <= 240
    assert world.asked <= 18 + 12, "the daily look at the plans is tried with pauses, too"
    assert len([r for r in rows(world.state) if r.kind == "refresh"]) <= 2


def test_conditions_only_delay_and_each_skip_is_noted_once(tmp_path: Path) -> None:
    world = World(tmp_path, conditions=Conditions(ac_power=True, at_most=2))
    on_battery = Facts(lambda: True, lambda: None, lambda: None)
    first = NOON + 9 * HOUR
    for hour in range(9, 9 + 24):
        world.now = NOON + hour * HOUR
        world.run(on_battery)
    (skip,) = [r for r in rows(world.state) if r.kind == "backup"]
    assert (skip.outcome, skip.reason, skip.slot) == ("skipped", "on battery", first)
    world.now = first + 2 * DAY
    world.run(on_battery)
    assert [r.outcome for r in rows(world.state) if r.kind == "backup"] == ["skipped"] * 2
    world.now += MINUTE  # more than two days: it goes
    world.run(on_battery)
    assert [r.outcome for r in rows(world.state) if r.kind == "backup"][-1] == "failed"


def test_two_at_once_and_a_changed_copy(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.now = NOON + 9 * HOUR
    with single(world.state / "due.lock") as is_alone:
        assert is_alone and world.run() == 0 and world.asked == 0
    (path,) = (world.state / "plans").iterdir()
    path.write_bytes(path.read_bytes().replace(b"/nowhere", b"/elsewhere"))
    assert world.run() == 0 and world.asked == 0, "a changed copy starts nothing"
    assert rows(world.state) == []


def test_prune_without_its_role_is_skipped_once_a_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    plan = msgspec.structs.replace(world.local.plan, zone="UTC", prune=Care(every=24), spread=0)
    LocalPlans(world.state).save(msgspec.structs.replace(world.local, plan=plan, items=[]))
    History(world.state).add(Ran(
        id="0" * 32, vault=world.local.vault, kind="backup", started=NOON, finished=NOON, outcome="completed"
    ))  # fmt: skip

    def denied(self: Session, role: object) -> None:
        raise AccessDenied("the credentials have the role backup")

    opened = new_vault(MemoryStore())
    monkeypatch.setattr(Session, "open_vault", lambda self, **options: opened)
    monkeypatch.setattr(Session, "require", denied)
    for hour in range(1, 30):
        world.now = NOON + hour * HOUR
        world.run()
    skips = [r for r in rows(world.state) if r.kind == "prune"]
    assert {(r.outcome, r.reason) for r in skips} == {("skipped", NO_ROLE)}
    slots = [r.slot for r in skips]
    assert slots == [slots[0] + n * DAY for n in range(len(slots))] and len(slots) in (2, 3)
