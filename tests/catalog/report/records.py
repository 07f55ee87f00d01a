"""Records of a machine to report on: two items and upkeep, a month long, with things that went wrong."""

from __future__ import annotations

from pathlib import Path

from catalog.format.plan import Care, Schedule
from catalog.plans.effective import Plan
from catalog.plans.local import LocalItem, LocalPlans, LocalVault
from catalog.schedule.history import History, Ran

HOUR = 3600 * 10**9  # ns
DAY = 24 * HOUR
NOW = 1_790_000_000 * 10**9  # 2026-09-21 14:13:20 UTC
VAULT, MACHINE, HOME, DATABASE = "aa" * 16, "bb" * 16, "11" * 16, "22" * 16
NIGHTLY = Plan(zone="UTC", schedule=Schedule(times=[21 * 60]))


def plans(name: str = "home", machine: str = "SRV01") -> LocalVault:
    return LocalVault(
        vault=VAULT, address="azure://acme/backups", machine=MACHINE, machine_name=machine, fetched=NOW - DAY,
        since=NOW - 40 * DAY, plan=Plan(zone="UTC", prune=Care(every=24), check_2=Care(every=24)),
        items=[
            LocalItem(id=HOME, name=name, plan=NIGHTLY, since=NOW - 40 * DAY),
            LocalItem(id=DATABASE, name="database", plan=NIGHTLY, since=NOW - 40 * DAY),
        ],
    )  # fmt: skip


def month(name: str = "home") -> list[Ran]:
    """The runs of a month. On two nights the database's backups failed, on the last one without a later success."""
    found: list[Ran] = []

    def add(n: int, kind: str, item: str, item_name: str, hours: float, **fields: object) -> None:
        began = NOW - n * DAY - int(hours * HOUR)
        row: dict[str, object] = {
            "id": f"{len(found):032x}", "vault": VAULT, "machine": MACHINE, "kind": kind, "item": item,
            "item_name": item_name, "started": began, "finished": began + 300 * 10**9 + n * 7 * 10**9,
            "slot": began, "outcome": "completed",
        }  # fmt: skip
        found.append(Ran(**(row | fields)))  # type: ignore[arg-type]

    for n in range(30, 0, -1):
        size = 80 * 2**30 + (30 - n) * 2**28
        new = 2**27 * (1 + n * 7 % 5) + (2**31 if n == 12 else 0)
        if n == 20:
            add(n, "backup", HOME, name, -6.8, outcome="failed", cause="StoreUnreachable",
                error="the store https://acme.blob.core.windows.net can't be reached", bytes=0)  # fmt: skip
        elif n == 8:
            add(n, "backup", HOME, name, -6.8, outcome="completed with warnings", bytes=size, new_bytes=new,
                files=120_000, problem_count=2,
                problems=[b"/home/a/locked.pst", b"/home/b/\xff<b>.db"])  # fmt: skip
        elif n == 5:
            add(n, "backup", HOME, name, -6.8, outcome="skipped", reason="on battery")
        else:
            add(n, "backup", HOME, name, -6.8, bytes=size, new_bytes=new, files=120_000 + n,
                missed=2 if n == 4 else 0)  # fmt: skip
        if n > 1:
            add(n, "backup", DATABASE, "database", -7, bytes=9 * 2**30, new_bytes=2**30 + n * 2**24, files=40)
        else:
            add(n, "backup", DATABASE, "database", -7, outcome="killed", finished=0)
        add(n, "prune", "", "", -9)
        add(n, "check", "", "", -10, level=2)
    return found


def write_records(state: Path, name: str = "home", machine: str = "SRV01") -> None:
    """Write all that into a state folder."""
    LocalPlans(state).save(plans(name, machine))
    History(state).note(month(name))
