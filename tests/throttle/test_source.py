"""Limits from this machine's copy of the plan, and from options of commands."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import closing, nullcontext
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from cache.reader import Reader
from catalog import held
from catalog.access.settings import Settings
from catalog.errors import StoreUnreachable
from catalog.format.plan import DAY, Limit
from catalog.plans.effective import Plan
from catalog.plans.local import LocalItem, LocalPlans, LocalVault
from catalog.store.memory import MemoryStore
from catalog.store.wrapper import StoreWrapper
from catalog.throttle.rates import Limits
from catalog.throttle.source import FRESH, PlannedLimits
from catalog.vault import Vault
from tests.kit.cli import Cli
from tests.kit.protected import Protected

MIB = 1 << 20
VAULT = bytes(range(16))
BERLIN = ZoneInfo("Europe/Berlin")
NOON = int(datetime(2026, 11, 27, 12, 0, tzinfo=BERLIN).timestamp()) * 10**9
PAUSE = Limit(start=0, end=DAY, up=0, down=0)


def save(
    state: Path, *throttle: Limit, vault: str = VAULT.hex(), address: str = "file:///x", **items: Limit
) -> None:
    rows = [
        LocalItem(id="01" * 16, name=name, plan=Plan(zone="UTC", throttle=(limit,)))
        for name, limit in items.items()
    ]
    plan = Plan(zone="Europe/Berlin", throttle=throttle)
    LocalPlans(state).save(
        LocalVault(
            vault=vault, address=address, machine="02" * 16, machine_name="m", fetched=1, plan=plan, items=rows
        )
    )


class Now:
    def __init__(self) -> None:
        self.seconds = 0.0

    def source(self, state: Path, item: str | None = None) -> PlannedLimits:
        return PlannedLimits(
            state, VAULT, item, clock=lambda: self.seconds, wall=lambda: NOON + int(self.seconds * 1e9)
        )  # fmt: skip


def test_the_plan_of_the_item_counts_else_the_machines(tmp_path: Path) -> None:
    lunch = Limit(start=12 * 60, end=13 * 60, up=MIB)  # 11:00 in UTC
    save(tmp_path, lunch, srv=Limit(start=11 * 60, end=12 * 60, down=2 * MIB))
    assert Now().source(tmp_path).now() == Limits(MIB, None)
    assert Now().source(tmp_path, "srv").now() == Limits(None, 2 * MIB)
    source = Now().source(tmp_path, "other")
    assert source.now() == Limits(MIB, None)
    source.of_item("srv")
    assert source.now() == Limits(None, 2 * MIB)


def test_a_change_of_the_plan_counts_in_a_running_job(tmp_path: Path) -> None:
    now = Now()
    source = now.source(tmp_path)
    assert source.now() == Limits()
    save(tmp_path, PAUSE)
    now.seconds += FRESH
    assert FRESH <= 60 and source.now() == Limits(0, 0)
    assert source.pause_text() == "the plan lets nothing go to or from the vault"
    save(tmp_path, Limit(start=11 * 60, end=14 * 60, up=0, down=0))
    now.seconds += FRESH
    assert source.pause_text() == "the plan lets nothing go to or from the vault until Friday 14:00"
    path = next((tmp_path / "plans").glob("*.json"))
    path.write_bytes(b"{")
    now.seconds += FRESH
    assert source.now() == Limits(0, 0), "a copy that can't be read is no reason to go on"
    path.unlink()
    now.seconds += FRESH
    assert source.now() == Limits()


@pytest.mark.parametrize("on_purpose", [True, False])
def test_a_reader_does_not_take_a_limit_for_a_hang(tmp_path: Path, on_purpose: bool) -> None:
    """A read takes longer than its time limit, but its clock stands still while a limit holds it back."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(b"x")
    machine = Protected(MemoryStore(), tmp_path / "state")
    point = machine.backup(tmp_path / "source").point
    assert point is not None and point.root is not None

    class Slow(StoreWrapper):
        def read(self, name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
            with held.holding() if on_purpose else nullcontext():
                time.sleep(1.5)
            return self.inner.read(name, offset, length, up_to=up_to)

    vault = machine.vault
    vault.store = Slow(vault.store)
    with closing(Reader(vault, timeout=0.5)) as reader:
        if on_purpose:
            assert reader.leaf(point.root.subtree().at)
        else:
            with pytest.raises(StoreUnreachable):
                reader.leaf(point.root.subtree().at)


@pytest.fixture
def planned(rpdrive: Cli, vault: Vault, tmp_path: Path) -> Path:
    """A source with a recovery point, in a vault whose plan lets nothing through."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(os.urandom(300_000))
    rpdrive.ok("backup", source)
    settings = Settings(rpdrive.environ)
    settings.remember_vault(vault.store.url, vault.id)
    save(settings.state, PAUSE, vault=vault.id.hex(), address=vault.store.url)
    return source


def test_commands_wait_for_the_end_of_a_pause(rpdrive: Cli, planned: Path, tmp_path: Path) -> None:
    """A backup says that it waits, and ends at once on Ctrl-C. Whoever opens a drive need not wait to know."""
    process = subprocess.Popen(
        rpdrive.command("backup", planned), env=rpdrive.environ, stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"rpdrive: the plan lets nothing go to or from the vault\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130 and process.stderr.read() == b"rpdrive: interrupted\n"
    process.stderr.close()
    (tmp_path / "drive").mkdir()
    said = rpdrive.fails("mount", tmp_path / "drive", code=5)
    assert said.startswith("rpdrive: the plan lets nothing go to or from the vault; ")


def test_limits_that_are_given_count_in_place_of_the_plans(rpdrive: Cli, planned: Path, tmp_path: Path) -> None:
    (planned / "b").write_bytes(b"new")
    assert rpdrive.json("backup", planned, "--limit", "off")["new"] == 1
    rpdrive.ok("restore", f"latest:{planned}/a", "--to", tmp_path / "out", "--limit-down", "8M")
    assert (tmp_path / "out" / "a").read_bytes() == (planned / "a").read_bytes()
    said = rpdrive.fails("backup", planned, "--limit-up", "1K", code=2)
    assert said == "rpdrive: a limit of 1K is too low; use 16K (bytes a second) or more, or `off`"


@pytest.mark.needs_fuse
def test_a_drive_has_limits(rpdrive: Cli, planned: Path, tmp_path: Path) -> None:
    """A read takes longer than its time limit, since a limit of the rate holds it back, and does not fail."""
    drive = tmp_path / "drive"
    drive.mkdir()
    rpdrive.ok("mount", drive, "--point", "latest", "--limit", "160K", "--read-timeout", "1")
    try:
        path = drive / str(planned / "a").lstrip("/")
        assert path.read_bytes() == (planned / "a").read_bytes()
    finally:
        rpdrive.ok("unmount", drive)
