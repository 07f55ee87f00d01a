"""What a machine notices by itself, from its own records: every five minutes, without a request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from catalog.alerts.keeping import Kept
from catalog.alerts.local import step_here, token_facts
from catalog.alerts.rules import DAY
from catalog.alerts.sending import event_of
from catalog.alerts.state import Change
from catalog.errors import LocalError
from catalog.format.plan import Care, Pause, Schedule, Stop
from catalog.format.records import Outcome
from catalog.notify.event import Event, Failing, Severity
from catalog.plans.effective import Plan
from catalog.plans.local import LocalItem, LocalPlans, LocalVault
from catalog.schedule.history import History, Ran
from catalog.systems.this import SYSTEM
from tests.kit.cli import ROOT
from tests.kit.watched import Told

MINUTE = 60 * 10**9
HOUR = 60 * MINUTE
NINE = 1_800_046_800 * 10**9  # 2027-01-15 21:00 UTC
VAULT, MACHINE, ITEM = "aa" * 16, "bb" * 16, "cc" * 16
NIGHTLY = Plan(zone="UTC", schedule=Schedule(times=[21 * 60]))


class Here:
    """A machine with a plan, and its state folder."""

    def __init__(self, state: Path, plan: Plan = NIGHTLY, own: Plan | None = None) -> None:
        self.state, self.told, self.number = state, Told(), 0
        self.plan(plan, own or Plan())

    def plan(self, plan: Plan, own: Plan | None = None) -> None:
        LocalPlans(self.state).save(
            LocalVault(
                vault=VAULT, address="file:///v", machine=MACHINE, machine_name="SRV01", fetched=NINE,
                since=NINE - DAY, plan=own or Plan(),
                items=[LocalItem(id=ITEM, name="files", plan=plan, since=NINE - DAY)],
            )
        )  # fmt: skip

    def ran(self, started: int, outcome: str = Outcome.COMPLETED, kind: str = "backup", **fields: object) -> None:
        self.number += 1
        row = {
            "id": f"{self.number:032x}", "vault": VAULT, "machine": MACHINE, "kind": kind, "item": ITEM,
            "started": started, "finished": started + 1, "outcome": outcome,
        } | fields  # fmt: skip
        History(self.state).add(Ran(**row))  # type: ignore[arg-type]

    def step(self, now: int) -> list[tuple[str, str]]:
        step_here(self.state, now, self.told)
        return self.told.take()


def test_a_late_backup(tmp_path: Path) -> None:
    here = Here(tmp_path)
    assert here.step(NINE + HOUR) == []
    here.ran(NINE + HOUR)
    assert here.step(NINE + 24 * HOUR) == []
    assert here.step(NINE + 36 * HOUR - 1) == []
    assert here.step(NINE + 37 * HOUR) == [("opened", "backup.overdue")]
    alert = Kept(tmp_path).of(VAULT)[0]
    assert (alert.machine_name, alert.item_name) == ("SRV01", "files")
    assert alert.text == "the backup is 13 h late; the last one began 36 h ago"
    here.ran(NINE + 37 * HOUR, Outcome.SKIPPED, reason="on battery")
    assert here.step(NINE + 37 * HOUR + 1) == []
    here.ran(NINE + 38 * HOUR)
    assert here.step(NINE + 38 * HOUR + 1) == [("resolved", "backup.overdue")]


def test_a_new_plan_is_not_late_at_once(tmp_path: Path) -> None:
    here = Here(tmp_path)
    assert here.step(NINE - HOUR) == []
    assert here.step(NINE + 11 * HOUR) == []
    assert here.step(NINE + 13 * HOUR) == [("opened", "backup.overdue")], "the first backup is expected, too"


@pytest.mark.parametrize("change", [{"paused": Pause(since=NINE)}, {"stopped": Stop(since=NINE)}])
def test_what_is_paused_or_stopped_is_not_late(tmp_path: Path, change: dict[str, object]) -> None:
    here = Here(tmp_path)
    assert here.step(NINE + 13 * HOUR) == [("opened", "backup.overdue")]
    here.plan(msgspec.structs.replace(NIGHTLY, **change))
    assert here.step(NINE + 14 * HOUR) == [("resolved", "backup.overdue")]
    assert here.step(NINE + 20 * DAY) == []


def test_upkeep_is_late_after_twice_its_period(tmp_path: Path) -> None:
    own = Plan(zone="UTC", prune=Care(every=24), check_2=Care(every=24), restore_test=Care(every=24 * 7))
    here = Here(tmp_path, Plan(), own)
    for kind, level in (("prune", 0), ("check", 2), ("restore-test", 0)):
        here.ran(NINE, kind=kind, item="", level=level)
    assert here.step(NINE + 40 * HOUR) == []
    assert here.step(NINE + 70 * HOUR) == [("opened", "check.overdue"), ("opened", "prune.overdue")]
    here.ran(NINE + 71 * HOUR, kind="prune", item="")
    here.ran(NINE + 71 * HOUR, kind="check", level=1, item="")
    assert here.step(NINE + 72 * HOUR) == [("resolved", "prune.overdue")], "level 1 is no check of level 2"
    here.ran(NINE + 72 * HOUR, kind="check", level=3, item="")
    assert here.step(NINE + 73 * HOUR) == [("resolved", "check.overdue")], "level 3 contains level 2"
    assert ("opened", "restore_test.overdue") in here.step(NINE + 22 * DAY)


def test_the_clock_set_back(tmp_path: Path) -> None:
    here = Here(tmp_path)
    for day in range(4):
        here.ran(NINE + day * DAY)
        assert here.step(NINE + day * DAY + HOUR) == []
    for back in (1, 2, 30, 9000):
        assert {alert for _what, alert in here.step(NINE + 3 * DAY - back * DAY)} <= {"clock.skew"}
    assert here.step(NINE + 4 * DAY - HOUR) == [("resolved", "clock.skew")]


def test_a_killed_run_by_the_start_of_the_machine(tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.ran(NINE, "running", finished=0, boot=SYSTEM.boot_id())
    assert here.step(NINE + HOUR) == []
    here.ran(NINE + HOUR, "running", finished=0, boot="an earlier one")
    assert here.step(NINE + 2 * HOUR) == [("opened", "backup.killed")]
    here.ran(NINE + 3 * HOUR)
    assert here.step(NINE + 4 * HOUR) == [("resolved", "backup.killed")]


def test_a_backup_that_takes_days_is_late_and_not_killed(tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.ran(NINE, "running", finished=0, boot=SYSTEM.boot_id())
    assert here.step(NINE + 30 * HOUR) == [("opened", "backup.overdue")]
    (alert,) = Kept(tmp_path).of(VAULT)
    assert alert.severity is Severity.WARNING
    assert alert.text == "the backup is 30 h late; there was none yet; one has been at work for 30 h"
    here.number = 0
    here.ran(NINE, Outcome.KILLED)
    assert here.step(NINE + 31 * HOUR) == [("reminded", "backup.overdue"), ("opened", "backup.killed")]


def test_a_target_that_fails_is_told_to_the_others(tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.told.failing = lambda now: [Failing("mail", NINE, 3, "refused")]  # type: ignore[method-assign]
    assert here.step(NINE) == [("opened", "target.failing")]
    here.told.failing = lambda now: []  # type: ignore[method-assign]
    assert here.step(NINE + HOUR) == [("resolved", "target.failing")]


def test_what_could_not_be_told_is_told_later(tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.told.takes_none = True
    here.ran(NINE, Outcome.FAILED, cause="Locked")
    assert here.step(NINE + 1) == here.step(NINE + MINUTE) == []
    here.told.takes_none = False
    assert here.step(NINE + 2) == [], "another process may be telling it right now"
    assert here.step(NINE + 5 * MINUTE) == [("opened", "backup.failed")]
    assert here.step(NINE + 10 * MINUTE) == []
    here.told.takes_none = True
    here.ran(NINE + 10 * MINUTE)
    assert here.step(NINE + 11 * MINUTE) == []
    here.told.takes_none = False
    assert here.step(NINE + 15 * MINUTE) == [("resolved", "backup.failed")]
    assert here.step(NINE + 20 * MINUTE) == []


def test_a_process_that_ends_while_it_tells(tmp_path: Path) -> None:
    here, real = Here(tmp_path), Told.send

    def interrupted(*_args: object) -> list[Event]:
        raise KeyboardInterrupt

    here.told.send = interrupted  # type: ignore[assignment, method-assign]
    here.ran(NINE, Outcome.FAILED, cause="Locked")
    with pytest.raises(KeyboardInterrupt):
        here.step(NINE + 1)
    here.told.send = real.__get__(here.told)  # type: ignore[method-assign]
    assert here.step(NINE + 5 * MINUTE) == [("opened", "backup.failed")]


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Here(tmp_path)
    here.ran(NINE, Outcome.FAILED, cause="Locked")

    def full(path: Path, data: bytes) -> None:
        raise LocalError(f"{path} can't be written: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("catalog.alerts.keeping.write_private", full)
        assert here.step(NINE + 1) == []
    assert here.step(NINE + 2) == [("opened", "backup.failed")]


def test_malformed_files_cost_themselves(tmp_path: Path) -> None:
    here = Here(tmp_path)
    (tmp_path / "plans" / f"{'dd' * 16}.json").write_bytes(b"junk")
    with (tmp_path / "runs.jsonl").open("ab") as file:
        file.write(b"junk\n\xff\n")
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / f"{VAULT}.json").write_bytes(b"junk")
    here.ran(NINE, Outcome.FAILED, cause="Locked")
    assert here.step(NINE + HOUR) == [("opened", "backup.failed")]


def test_a_token() -> None:
    assert token_facts("v", None, None, "s", NINE) == []
    assert token_facts("v", NINE + 15 * DAY, None, "s", NINE) == []
    assert [f.severity for f in token_facts("v", NINE + 13 * DAY, None, "s", NINE)] == [None]
    assert token_facts("v", NINE + 10 * DAY, NINE, "s", NINE) == [], "credentials last for 10 days by default"
    assert token_facts("v", NINE + 10 * DAY, NINE, "s", NINE + 7 * DAY) == []
    assert len(token_facts("v", NINE + 10 * DAY, NINE, "s", NINE + 8 * DAY)) == 1
    assert [(f.severity, f.text) for f in token_facts("v", NINE - HOUR, None, "s", NINE)] == [
        (Severity.CRITICAL, "it ended 1 h ago")
    ]


def test_events(tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.ran(NINE, Outcome.FAILED, cause="StoreFull", error="the disk is full")
    step_here(tmp_path, NINE + 1, here.told)
    event = here.told.events[0]
    assert (event.alert, event.severity, event.machine, event.item) == (
        "backup.failed", Severity.WARNING, "SRV01", "files",
    )  # fmt: skip
    assert (event.title, event.text, event.command) == ("backup failed", "the disk is full", "rpdrive jobs")
    assert event.fields["reason"] == "StoreFull" and not event.security
    alert = Kept(tmp_path).of(VAULT)[0]
    assert event_of(Change("reminded", alert, NINE + DAY)).key == event.key
    assert event_of(Change("resolved", alert, NINE + DAY)).command == ""
    lost = msgspec.structs.replace(alert, id="point.deleted", cause="vanished")
    told = event_of(Change("opened", lost, NINE))
    assert told.security and told.command == "rpdrive forget --missing"
    assert told.advice.endswith(f"acknowledge it once you know why: `rpdrive alerts ack {lost.ref}`")
    odd = msgspec.structs.replace(alert, id="backup.unusual")
    assert event_of(Change("opened", odd, NINE)).command == f"rpdrive alerts ack {odd.ref}"


def test_it_imports_little() -> None:
    """A tick has 150 ms and 40 MB: neither cryptography nor a store is loaded."""
    heavy = ("cryptography", "zstandard", "azure", "rich", "typer", "catalog.vault")
    code = f"import sys, catalog.alerts.local; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
