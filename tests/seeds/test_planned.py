"""What is planned of an item whose first backup travels."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from backup.scheduled import Edge, run_due
from catalog.access.session import Session
from catalog.alerts.looking import Look, Looker
from catalog.alerts.overdue import Protected, expectations
from catalog.alerts.vaults import Known, vault_facts
from catalog.format.plan import Care, Schedule
from catalog.plans.local import LocalVault
from catalog.plans.records import Plans, add_plan, next_record, refresh
from catalog.schedule.conditions import Facts
from catalog.schedule.due import TRAVELS
from catalog.schedule.history import DAY, History
from catalog.schedule.slots import HOUR
from tests.kit.exporting import ADDRESS, Exporter

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(120)]


def test_a_planned_backup_waits_and_is_no_alert(
    tmp_path: Path, disks: list[Path], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planned run of an item that travels is one skipped row for each slot, and nothing is overdue."""
    machine = Exporter(tmp_path)
    machine.start(disks[1])
    machine.backup(source, item="home")
    machine.close()
    session, vault = machine.open()
    session.save_key(vault)
    plan = planned(machine, source)
    monkeypatch.setattr(Session, "another", lambda self, address: machine.session())
    first = time.time_ns() // DAY * DAY + DAY
    now = [0]
    edge = Edge(
        now=lambda: now[0], wait=lambda seconds: None, facts=Facts(lambda: None, lambda: None, lambda: None)
    )

    def ticks(hours: range) -> None:
        for hour in hours:
            now[0] = first + hour * HOUR
            run_due(machine.session(), edge)

    ticks(range(0, 72, 2))
    # Until 03:00, the time of today is one that comes, too.
    ran = [row for row in History(machine.state).all() if row.kind == "backup" and row.slot >= first]
    assert {(row.outcome, row.reason) for row in ran} == {("skipped", TRAVELS)}
    # Nor is there anything that could be restored.
    tests = [row for row in History(machine.state).all() if row.kind == "restore-test"]
    assert tests and {(row.outcome, row.reason) for row in tests} == {("skipped", TRAVELS)}
    assert len(ran) == 3 and all("is travelling on disks" in row.error for row in ran)
    (item,) = plan.items
    protected = Protected(plan.vault, plan.machine, item.id, item.plan, ran, since=first)
    assert expectations(protected, now[0]) == []
    # Nor is it for those who watch the vault; without the record of the seed it would be.
    look = Looker(tmp_path, vault.id).look(vault, now[0])
    assert item_facts(look) == []
    assert item_facts(look._replace(travelling=frozenset())) == ["backup.overdue"]
    # It arrives: the next slot is an ordinary backup again.
    assert machine.bring(disks[1]).is_whole
    ticks(range(72, 78, 2))
    last = max(History(machine.state).all(), key=lambda row: row.slot if row.kind == "backup" else 0)
    assert last.outcome == "completed" and last.point
    assert len(machine.visible()) == 2


def item_facts(look: Look) -> list[str]:
    return [fact.id for fact in vault_facts(look, Known())[0] if fact.item]


def planned(machine: Exporter, source: Path) -> LocalVault:
    """Plan the item for 03:00 each day; the plan counts for times gone by, too. This machine's copy of it."""
    _session, vault = machine.open()
    settings = machine.session().settings
    known = refresh(vault, ADDRESS, settings)
    assert known is not None
    (item,) = vault.items(bytes.fromhex(known.machine)).values()
    own = Plans(vault).level("item", "home", item.id)
    paths, schedule = [os.fsencode(source)], Schedule(times=[180])
    upkeep = Plans(vault).of_vault()
    add_plan(vault, upkeep, next_record(upkeep, restore_test=Care(every=24), spread=0))
    add_plan(vault, own, next_record(own, zone="UTC", paths=paths, schedule=schedule, spread=0))
    found = refresh(vault, ADDRESS, settings)
    assert found is not None
    return found
