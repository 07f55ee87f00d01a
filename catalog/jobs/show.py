"""Runs `rpdrive jobs` on an open vault."""

from __future__ import annotations

import time
from pathlib import Path

from catalog.access.session import Session
from catalog.jobs.listing import JOB_COLUMNS, job_columns, job_rows, job_text, one_job, row_json
from catalog.jobs.local import LocalJobs
from catalog.schedule.history import History, Ran
from catalog.screen.output import print_json, print_table
from catalog.vault import Vault


def show_job(session: Session, vault: Vault, spec: str, *, as_json: bool) -> None:
    """Print the job whose id starts with `spec`. Raises as `one_job`."""
    state = session.settings.where("state")
    row = one_job(vault, LocalJobs(state).all(), spec, ran=_history(state))
    if as_json:
        print_json(row_json(row))
    else:
        print(job_text(row))


def show_jobs(session: Session, vault: Vault, machine: str | None, last: int, *, as_json: bool) -> None:
    """Print the `last` jobs (all if 0). Raises the first error of a record that can't be read, after the others."""
    state = session.settings.where("state")
    rows, damaged = job_rows(vault, LocalJobs(state).all(), machine, last, ran=_history(state))
    if as_json:
        found = [row_json(row) for row in rows]
        print_json({"vault": session.address, "jobs": found, "damaged": vault.passed_over.json()})
    elif rows:
        print_table(JOB_COLUMNS, job_columns(rows))
    elif not damaged:
        print("There are no jobs here yet")
    if damaged:
        raise damaged[0]


def _history(state: Path) -> list[Ran]:
    """This machine's runs, those that were killed since the last look included."""
    return History(state).settle(time.time_ns())
