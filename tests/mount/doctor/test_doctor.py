"""`rpdrive doctor`: each state of each check, on real folders, a real vault and a real Azurite."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catalog.access.credentials import issue
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import LocalError
from catalog.format.plan import Care, Schedule
from catalog.notify.event import Event, Severity, What
from catalog.notify.spool import Spool
from catalog.plans.effective import Plan
from catalog.plans.local import LocalItem, LocalPlans, LocalVault
from catalog.program import HOME
from catalog.schedule.history import History, Ran
from catalog.schedule.marks import Marks
from catalog.schedule.timers.base import TimerState
from catalog.store.address import open_store
from catalog.store.roles import Role
from catalog.vault import Vault
from mount.doctor import here as here_module
from mount.doctor.examine import Check, Result, State, examine
from mount.doctor.here import Here
from mount.doctor.there import There
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.cli import Cli
from tests.kit.vaults import PASSPHRASE, home_of, new_vault

MINUTE = 60 * 10**9  # ns


class Patient:
    """A home, and what the doctor says of it."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings({HOME: str(folder)})
        self.state, self.config = self.settings.state, self.settings.config

    def plan(self, **fields: Any) -> None:
        item = LocalItem(id="cc" * 16, name="data", plan=Plan(schedule=Schedule(times=[0]), **fields))
        LocalPlans(self.state).save(LocalVault(
            vault="aa" * 16, address="file:///v", machine="bb" * 16, machine_name="srv", fetched=1, items=[item]
        ))  # fmt: skip

    def says(self, name: str) -> tuple[str, str, str]:
        checks = [check for check in Here(self.settings).checks() if check.name == name]
        (found,) = examine(checks)
        return found.state, found.text, found.mend


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path / "own")


def test_a_check_that_crashes_or_hangs_costs_its_line() -> None:
    def crashes() -> Result:
        raise ZeroDivisionError("by zero")

    def refuses() -> Result:
        raise LocalError("the disk is gone", "plug it in")

    def hangs() -> Result:
        threading.Event().wait()
        raise AssertionError

    def well() -> Result:
        return State.OK, "well"

    found = examine([Check("a", crashes), Check("b", refuses), Check("c", well)])
    assert [tuple(one) for one in found] == [
        ("a", "unknown", "the check itself failed: ZeroDivisionError: by zero", "report it as a bug"),
        ("b", "fail", "the disk is gone", "plug it in"),
        ("c", "ok", "well", ""),
    ]
    (late,) = examine([Check("d", hangs)], patience=0.05)
    assert (late.state, late.text) == ("unknown", "no answer within 0.05 seconds")


def test_the_timer(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    installed: TimerState | None = None
    monkeypatch.setattr(here_module, "timer_state", lambda: installed)
    assert patient.says("timer")[::2] == ("warn", "rpdrive protect PATH…")
    patient.plan()
    assert patient.says("timer")[::2] == ("fail", "rpdrive timer install")
    installed = TimerState("cron", "the table of root", True)
    assert patient.says("timer")[0] == "warn", "it has not run yet"
    Marks(last=time.time_ns() - MINUTE).write(patient.state)
    assert patient.says("timer")[0] == "ok"
    Marks(last=time.time_ns() - 60 * MINUTE).write(patient.state)
    assert patient.says("timer") == ("fail", "cron: it last ran 1 h ago", "rpdrive timer install")
    installed = TimerState("cron", "the table of root", True, faults=("it is switched off",))
    assert patient.says("timer") == ("fail", "cron: it is switched off", "rpdrive timer install")


def test_the_clock_and_the_plans(patient: Patient) -> None:
    assert patient.says("plans")[::2] == ("warn", "rpdrive protect PATH…")
    assert patient.says("clock of this machine")[0] == "ok"
    Marks(last=time.time_ns() + 180 * MINUTE).write(patient.state)
    assert patient.says("clock of this machine")[::2] == ("fail", "set the clock")
    patient.plan(zone="UTC")
    assert patient.says("plans") == ("ok", "data", "")
    patient.plan(zone="Mars/Olympus")
    assert patient.says("plans")[::2] == ("fail", "update the package tzdata")
    (path,) = (patient.state / "plans").iterdir()
    path.write_text("{")
    assert patient.says("plans")[::2] == ("fail", "write it anew with `rpdrive plan refresh`")


def test_folders_mirror_and_what_is_left_behind(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [patient.says(name)[0] for name in ("folders", "index mirror", "left behind")] == ["ok"] * 3
    patient.state.chmod(0o755)
    assert patient.says("folders")[::2] == ("fail", f"chmod 700 {patient.state}")
    (patient.state / "index-a-b.sqlite").write_bytes(b"no database, but as long as the header of one" * 10)
    before = sorted(patient.state.iterdir())
    assert patient.says("index mirror")[0] == "warn"
    assert sorted(patient.state.iterdir()) == before
    ran = Ran(id="01", kind="backup", item="cc", item_name="data", started=1, outcome="killed")
    History(patient.state).add(ran)
    assert patient.says("left behind") == ("warn", "killed, and not run again since: backup data", "rpdrive jobs")
    History(patient.state).add(msgspec.structs.replace(ran, id="02", started=2, outcome="completed"))
    assert patient.says("left behind")[0] == "ok"
    (patient.state / "x.malformed").touch()
    assert patient.says("left behind")[0] == "warn"
    monkeypatch.setattr(here_module, "LEAST_FREE", 1 << 62)
    assert patient.says("room here")[0] == "warn"


def test_hooks_and_messages(patient: Patient) -> None:
    assert patient.says("notifications")[::2] == ("warn", "rpdrive notify set")
    path = patient.config / "notify.toml"
    path.write_text('[targets.hook]\ntype = "webhook"\nurl = "http://127.0.0.1:9/"\n')
    path.chmod(0o600)
    assert patient.says("notifications") == ("ok", "hook", "")
    event = Event(what=What.TEST, alert="x", severity=Severity.INFO, time=1, title="x")
    Spool(patient.state / "notify").add("hook", event, 1)
    assert patient.says("notifications")[::2] == ("fail", "rpdrive notify test hook")
    path.write_text("[targets")
    assert patient.says("notifications")[0] == "fail"
    assert patient.says("hooks")[0] == "ok"
    hooks = patient.config / "hooks.toml"
    hooks.write_text("")
    hooks.chmod(0o666)
    assert patient.says("hooks")[0] == "fail"


def test_the_command_and_a_folder(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    def doctor() -> dict[str, tuple[str, str]]:
        done = rpdrive.run("doctor", "--json")
        row = json.loads(done.stdout)
        assert done.returncode == row["exit_code"] == 3 and not done.stderr, done
        return {one["name"]: (one["state"], one["mend"]) for one in row["checks"]}

    found = doctor()
    assert not rpdrive.home.exists(), "it writes nothing"
    assert found["vault"][0] == found["credentials"][0] == found["role"][0] == "ok"
    assert found["key"] == ("fail", "rpdrive vault unlock --save")
    rpdrive.ok("vault", "unlock", "--save")
    found = doctor()
    assert found["key"][0] == "ok" and found["protection"] == ("warn", "rpdrive vault protect")
    (path,) = (rpdrive.home / "state").rglob(f"{vault.id.hex()}.json")
    session = Session(Settings(rpdrive.environ), vault=rpdrive.environ["RPDRIVE_VAULT"])
    path.chmod(0o644)
    (key,) = (one for one in examine(There(session).checks()) if one.name == "key")
    assert (key.state, "chmod 600" in key.mend) == ("fail", True), key
    path.write_text("{}")
    path.chmod(0o600)
    assert _states(There(session).checks())["key"] == "fail"
    session.close()
    rpdrive.vault.joinpath("vault.json").rename(tmp_path / "away")
    text = rpdrive.run("doctor").stdout.decode()
    assert "fail     vault " in text and "fail     key " in text and "ok       versions " in text


@pytest.mark.needs_azurite
def test_an_account(azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    azurite.container("doctor")
    url = f"azure://{ACCOUNT}/doctor"
    for variable, value in azurite.environ.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("RPDRIVE_PASSPHRASE", PASSPHRASE)
    vault = new_vault(open_store(url))
    settings = Settings(home_of(tmp_path / "home", url))
    credentials = issue(url, vault.id, Role.BACKUP, timedelta(days=3))
    for variable in azurite.environ:
        monkeypatch.delenv(variable)
    session = Session(settings, vault=url)
    session.connect(credentials)
    plan = Plan(schedule=Schedule(times=[0]), prune=Care(every=24))
    item = LocalItem(id="cc" * 16, name="data", plan=plan)
    LocalPlans(settings.state).save(LocalVault(
        vault=vault.id.hex(), address=url, machine="bb" * 16, machine_name="srv", fetched=1, items=[item], plan=plan
    ))  # fmt: skip
    states = _states(There(session).checks())
    assert states["vault"] == states["clock of the store"] == "ok"
    assert states["credentials"] == states["role"] == states["protection"] == "warn"
    session.close()


def _states(checks: Sequence[Check]) -> dict[str, str]:
    return {found.name: str(found.state) for found in examine(checks)}


@pytest.mark.needs_root
def test_a_folder_of_another_user(patient: Patient) -> None:
    os.chown(patient.state, 1, 1)
    assert patient.says("folders")[0] == "fail" and "another user" in patient.says("folders")[1]
