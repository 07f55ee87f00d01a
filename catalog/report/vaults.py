"""The series of all machines of a vault, from the records of jobs in it."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.format.records import Job, JobName
from catalog.jobs.listing import fates
from catalog.jobs.recent import newest_jobs, newest_names
from catalog.report.series import Series, in_order
from catalog.schedule.history import Ran
from catalog.vault import Vault

_AT_ONCE, _MOST = 1_000, 20_000  # jobs


def series_of_vault(vault: Vault, address: str, since: int, now: int, here: Sequence[Ran]) -> list[Series]:
    """The series of jobs since a time (ns), and of some before it. Raises StoreError.

    `here` are the runs of this machine, which say of its jobs without an end whether they are at work.

    Records that do not open are noted as passed over, and left out.
    """
    names = newest_names(vault)
    jobs: list[Job] = []
    while len(jobs) < _MOST:
        some, _errors = newest_jobs(vault, names, _AT_ONCE)
        jobs += some
        if len(some) < _AT_ONCE or JobName.of(some[-1]).time < since:
            break
    fates(jobs, here, now)
    rows: dict[tuple[bytes, bytes | None, str], list[Job]] = {}
    for job in reversed(jobs):
        item = job.item if job.kind in ("backup", "restore") else None
        rows.setdefault((job.machine, item, job.kind), []).append(job)
    return in_order(
        Series(
            address, some[-1].machine_name, some[-1].item_name if item is not None else "", kind, 0,
            sorted((ran_of(job) for job in some), key=lambda ran: ran.started),
        )
        for (_machine, item, kind), some in rows.items()
    )  # fmt: skip


def ran_of(job: Job) -> Ran:
    """A record of a job as the run that it is of."""
    return Ran(
        id=job.id.hex(), machine=job.machine.hex(), kind=job.kind, item=job.item.hex() if job.item else "",
        item_name=job.item_name, started=job.time, finished=job.finished, outcome=job.outcome, cause=job.error_kind,
        error=job.error, bytes=job.bytes, new_bytes=job.new_bytes, files=job.files, changed=job.new + job.changed,
        problem_count=job.problem_count, problems=[problem.path for problem in job.problems],
    )  # fmt: skip
