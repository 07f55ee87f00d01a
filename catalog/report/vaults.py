"""The series of all machines of a vault, from the records of jobs in it."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.format.records import Job, JobName
from catalog.jobs.listing import fates
from catalog.jobs.recent import newest_jobs, newest_names
from catalog.plans.effective import effective
from catalog.plans.local import LocalItem, LocalVault
from catalog.plans.records import Plans
from catalog.report.series import Series, in_order, series_of
from catalog.schedule.history import Ran
from catalog.vault import Vault

_AT_ONCE, _MOST = 1_000, 20_000  # jobs


def series_of_vault(vault: Vault, address: str, since: int, now: int, here: Sequence[Ran]) -> list[Series]:
    """The series of jobs since a time (ns), and of some before it. Raises StoreError.

    `here` are the runs of this machine, which say of its jobs without an end whether they are at work. Records that
    do not open are noted as passed over, and left out.
    """
    names = newest_names(vault)
    jobs: list[Job] = []
    while len(jobs) < _MOST:
        some, _errors = newest_jobs(vault, names, _AT_ONCE)
        jobs += some
        if len(some) < _AT_ONCE or JobName.of(some[-1]).time < since:
            break
    fates(jobs, here, now)
    runs: dict[str, list[Ran]] = {}
    names_of: dict[str, str] = {}
    for job in jobs:
        runs.setdefault(job.machine.hex(), []).append(ran_of(job, vault.id))
        names_of.setdefault(job.machine.hex(), job.machine_name)
    found: list[Series] = []
    planned = _planned(vault, address, now)
    for machine in {*runs, *planned}:
        local = planned.get(machine) or LocalVault(
            vault=vault.id.hex(), address=address, machine=machine, machine_name=names_of[machine], fetched=now
        )
        found += series_of([local], runs.get(machine, []), now)
    return in_order(found)


def _planned(vault: Vault, address: str, now: int) -> dict[str, LocalVault]:
    """The plans of the items of each machine that is not forgotten, by its id (hex).

    Upkeep is left out: the records of checks don't say their level.
    """
    plans = Plans(vault)
    machines = {m.id: m for m in vault.machines().values() if not m.forgotten} if plans.ids else {}
    found: dict[str, LocalVault] = {}
    for item in vault.all_items() if machines else ():
        machine = machines.get(item.machine)
        if machine is None:
            continue
        levels = plans.levels(machine.id, machine.name, item.id, item.name)
        written = [level.record.written for level in levels if level.record is not None]
        if written:
            one = found.setdefault(
                machine.id.hex(),
                LocalVault(
                    vault=vault.id.hex(), address=address, machine=machine.id.hex(), machine_name=machine.name,
                    fetched=now,
                ),
            )  # fmt: skip
            since = min(max(written), now)
            one.items.append(LocalItem(id=item.id.hex(), name=item.name, plan=effective(levels), since=since))
    return found


def ran_of(job: Job, vault: bytes) -> Ran:
    """A record of a job as the run that it is of."""
    return Ran(
        id=job.id.hex(), vault=vault.hex(), machine=job.machine.hex(), kind=job.kind,
        item=job.item.hex() if job.item else "",
        item_name=job.item_name, started=job.time, finished=job.finished, outcome=job.outcome, cause=job.error_kind,
        error=job.error, bytes=job.bytes, new_bytes=job.new_bytes, files=job.files, changed=job.new + job.changed,
        problem_count=job.problem_count, problems=[problem.path for problem in job.problems],
    )  # fmt: skip
