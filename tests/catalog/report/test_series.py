"""What runs come to."""

from __future__ import annotations

from pathlib import Path

import msgspec

from catalog.format.plan import Pause
from catalog.report.series import series_here, series_of, summarise
from catalog.schedule.history import Ran
from tests.catalog.report.records import DAY, HOME, HOUR, NIGHTLY, NOW, VAULT, month, plans, write_records


def test_the_month_of_a_machine(tmp_path: Path) -> None:
    write_records(tmp_path)
    rows = {(s.kind, s.item): summarise(s, NOW - 30 * DAY, NOW) for s in series_here(tmp_path, NOW)}
    assert list(rows) == [("backup", "database"), ("backup", "home"), ("prune", ""), ("check", "")]
    home, database = rows["backup", "home"], rows["backup", "database"]
    assert (home.runs, home.completed, home.warnings, home.failed, home.skipped, home.missed) == (
        29,
        27,
        1,
        1,
        1,
        2,
    )
    assert home.is_well and not home.overdue and home.files == 120_001
    assert home.bytes > (home.before or 0) > 0
    assert (database.runs, database.killed) == (30, 1) and database.overdue and not database.is_well
    assert home.series.next == NOW // DAY * DAY + 21 * HOUR


def test_a_planned_job_shows_before_its_first_run() -> None:
    (home, database, *_) = series_of([plans()], [], NOW)
    assert (home.item, home.runs) == ("database", []) and database.item == "home"
    found = summarise(home, NOW - DAY, NOW)
    assert found.success is None and found.overdue


def test_runs_without_a_plan_are_reported_too() -> None:
    (one,) = series_of([], [ran for ran in month() if ran.item == HOME], NOW, here="SRV01")
    assert (one.vault, one.machine, one.item, one.expected) == (VAULT[:8], "SRV01", "home", None)


def test_a_paused_item_is_not_overdue() -> None:
    paused = msgspec.structs.replace(NIGHTLY, paused=Pause(since=NOW - 9 * DAY, until=NOW + DAY, reason="moving"))
    local = plans()
    local.items = [msgspec.structs.replace(item, plan=paused) for item in local.items]
    for one in series_of([local], [], NOW):
        assert one.kind != "backup" or (one.paused and not summarise(one, 0, NOW).overdue)


def test_what_runs_now_is_no_run_yet() -> None:
    running = Ran(id="1", kind="backup", vault=VAULT, item=HOME, started=NOW - HOUR)
    (one,) = series_of([], [running], NOW)
    assert summarise(one, 0, NOW).runs == 0


def test_nothing_known_is_nothing() -> None:
    assert series_of([], [], NOW) == []
    assert [s.kind for s in series_of([plans()], [], 0)][:2] == ["backup", "backup"]
