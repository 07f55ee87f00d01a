"""The tick and what it starts: real commands, a real vault, and this machine's history."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catalog.format.plan import Care, Schedule
from catalog.plans.local import LocalPlans, LocalVault
from catalog.plans.records import Plans, add_plan, next_record, refresh
from catalog.program import main_command
from catalog.schedule.conditions import Facts
from catalog.schedule.history import DAY, History, Ran
from catalog.vault import Vault
from tests.kit.cli import Cli

FREE = Facts(lambda: None, lambda: None, lambda: None)
CARE = {"prune": Care(every=24), "check_1": Care(every=24, budget=5), "check_2": Care(every=24, percent=50.0)}


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
    return plan(vault, state, rpdrive, source)


def plan(vault: Vault, state: Path, rpdrive: Cli, source: Path, **fields: Any) -> LocalVault:
    known = refresh(vault, f"file://{rpdrive.vault}", state)
    assert known is not None
    machine = bytes.fromhex(known.machine)
    (item,) = vault.items(machine).values()
    plans = Plans(vault)
    away = (datetime.now(UTC).isoweekday() + 2) % 7 + 1  # three days from now, and four days ago
    schedule = Schedule(times=[0], weekdays=[away])
    own = plans.level("item", "home", item.id)
    add_plan(vault, own, next_record(
        own, zone="UTC", paths=[os.fsencode(source)], exclude=["*.tmp"], schedule=schedule, spread=0, **fields
    ))  # fmt: skip
    found = refresh(vault, known.address, state)
    assert found is not None
    found = msgspec.structs.replace(found, items=[msgspec.structs.replace(i, since=0) for i in found.items])
    LocalPlans(state).save(found)
    return found


def forget_runs(state: Path) -> None:
    (state / "runs.jsonl").unlink()


def tick(rpdrive: Cli) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        main_command("catalog.schedule.tick"), env=rpdrive.environ, capture_output=True, check=False, timeout=120,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def rows(state: Path) -> list[Ran]:
    return History(state).all()


def test_a_tick_backs_up_and_the_next_one_touches_nothing(
    rpdrive: Cli, planned: LocalVault, state: Path, source: Path
) -> None:
    forget_runs(state)
    (source / "new").write_text("new")
    (source / "left.tmp").write_text("out")
    done = tick(rpdrive)
    assert done.returncode == 0, done
    (ran,) = rows(state)
    assert (ran.kind, ran.outcome, ran.item_name, ran.item) == ("backup", "completed", "home", planned.items[0].id)
    assert ran.slot and ran.slot % DAY == 0 and ran.started >= ran.slot and ran.point
    listed = rpdrive.ok("ls", f"latest:{source}")
    assert "new" in listed and "left.tmp" not in listed
    # Nothing is due now: no request, which would fail, and no process.
    rpdrive.vault.rename(rpdrive.vault.with_name("away"))
    done = tick(rpdrive)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert rows(state) == [ran]
