"""Runs `rpdrive jobs` on an open vault."""

from __future__ import annotations

import time
from pathlib import Path

from catalog.access.session import Session
from catalog.jobs.listing import JOB_COLUMNS, job_columns, job_rows, job_text, one_job, row_json
from catalog.jobs.local import LocalJob, LocalJobs
from catalog.schedule.history import RESTORE_TEST, RUNNING, History, Ran
from catalog.screen.output import print_json, print_table
from catalog.vault import Vault

_LOCAL = {"restore": "restore", RESTORE_TEST: "restore test"}  # kinds that leave nothing in the vault


def show_job(session: Session, vault: Vault, spec: str, *, as_json: bool) -> None:
    """Print the job whose id starts with `spec`. Raises as `one_job`."""
    local, ran = _here(session.settings.where("state"))
    row = one_job(vault, local, spec, ran=ran)
    if as_json:
        print_json(row_json(row))
    else:
        print(job_text(row))


def show_jobs(session: Session, vault: Vault, machine: str | None, last: int, *, as_json: bool) -> None:
    """Print the `last` jobs (all if 0). Raises the first error of a record that can't be read, after the others."""
    local, ran = _here(session.settings.where("state"))
    rows, damaged = job_rows(vault, local, machine, last, ran=ran)
    if as_json:
        found = [row_json(row) for row in rows]
        print_json({"vault": session.address, "jobs": found, "damaged": vault.passed_over.json()})
    elif rows:
        print_table(JOB_COLUMNS, job_columns(rows))
    elif not damaged:
        print("There are no jobs here yet")
    if damaged:
        raise damaged[0]


def _here(state: Path) -> tuple[list[LocalJob], list[Ran]]:
    """The jobs recorded on this machine, those without an end included, and its history."""
    local, ran = LocalJobs(state).all(), History(state).settle(time.time_ns())
    known = {job.id for job in local}
    return local + [_open_ended(one) for one in ran if one.kind in _LOCAL and one.id not in known], ran


def _open_ended(ran: Ran) -> LocalJob:
    """A restore, or a test of one, that runs or was killed: its record is written at its end."""
    finished = time.time_ns() if ran.outcome == RUNNING else ran.finished
    return LocalJob(
        id=ran.id, kind=_LOCAL[ran.kind], vault=ran.vault, point=ran.point, machine="", item=ran.item_name,
        target="", started=ran.started, finished=finished, bytes=ran.bytes, files=ran.files, warnings=[],
        warning_count=ran.problem_count, outcome=ran.outcome, error=ran.error,
    )  # fmt: skip
