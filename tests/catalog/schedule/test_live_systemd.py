"""The timer under a systemd that really runs: process 1 of namespaces of its own, with our units and no others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.format.plan import Care
from catalog.plans.records import Plans, add_plan, next_record
from catalog.schedule.history import History
from catalog.vault import Vault
from tests.kit.cli import ROOT, Cli
from tests.kit.drives import eventually
from tests.kit.planned import plan_item

SYSTEMD = Path("/usr/lib/systemd/systemd")
TARGETS = ("basic", "default", "shutdown", "sysinit", "time-set", "time-sync", "timers")
BEGIN = """
mount -t tmpfs none /run && mkdir -p /run/systemd/system
mount --bind {etc} /etc/systemd/system
export SYSTEMD_UNIT_PATH=/etc/systemd/system container=rpdrive
exec {systemd} --system --unit=default.target --show-status=false
"""
pytestmark = [pytest.mark.soak, pytest.mark.needs_root, pytest.mark.needs_program("systemctl")]


class Booted:
    """A machine of its own, as far as systemd can tell."""

    def __init__(self, folder: Path) -> None:
        etc = folder / "etc"
        etc.mkdir()
        for target in TARGETS:
            (etc / f"{target}.target").write_text(f"[Unit]\nDescription={target}\nDefaultDependencies=no\n")
        self._outer = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--uts", "--ipc", "--mount-proc",
             "sh", "-c", BEGIN.format(etc=etc, systemd=SYSTEMD)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._pid = ""
        eventually(self._is_up, "systemd answers")

    def _is_up(self) -> bool:
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
        self._pid = children[0] if children else ""
        return bool(self._pid) and self.run("systemctl", "show-environment").returncode == 0

    def run(self, *command: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", "-t", self._pid, "-m", "-p", *command], capture_output=True, text=True, check=False,
            env=environ or dict(os.environ), timeout=120, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def close(self) -> None:
        self._outer.kill()
        self._outer.wait(30)


@pytest.fixture
def booted(tmp_path: Path) -> Iterator[Booted]:
    assert SYSTEMD.exists() and shutil.which("unshare") and shutil.which("nsenter")
    machine = Booted(tmp_path)
    yield machine
    machine.close()


@pytest.mark.needs_fuse
def test_systemd_runs_what_is_due(booted: Booted, rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    environ = {**rpdrive.environ, "PYTHONPATH": str(ROOT)}
    state, source = rpdrive.home / "state", tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("content")
    rpdrive.ok("vault", "unlock", "--save")
    rpdrive.ok("backup", source, "--item", "home")
    plan_item(vault, state, rpdrive, source)
    own = Plans(vault).level("machine", "", machine_of(vault))
    add_plan(vault, own, next_record(own, check_1=Care(every=24), restore_test=Care(every=24), spread=0))
    (state / "runs.jsonl").unlink()

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return booted.run(sys.executable, "-P", "-m", "rpdrive", *words, environ=environ)

    assert command("timer", "show").returncode == 3
    done = command("timer", "install")
    assert done.returncode == 0, done
    assert booted.run("systemctl", "is-active", "rpdrive-tick.timer").stdout == "active\n"
    assert "rpdrive-tick.service" in booted.run("systemctl", "list-timers", "--all").stdout
    done = booted.run("systemctl", "start", "rpdrive-tick.service")
    assert done.returncode == 0, booted.run("systemctl", "status", "rpdrive-tick.service")
    # With all limits of the unit: it reads, writes the vault, and opens a drive.
    ran = [(r.kind, r.outcome) for r in History(state).all()]
    assert ran == [("backup", "completed"), ("check", "completed"), ("restore-test", "completed")]
    shown = command("timer", "show")
    assert shown.returncode == 0 and "systemd" in shown.stdout, shown
    assert command("timer", "remove").returncode == 0
    assert "0 timers" in booted.run("systemctl", "list-timers", "--all").stdout


def machine_of(vault: Vault) -> bytes:
    (machine,) = vault.machines()
    return machine
