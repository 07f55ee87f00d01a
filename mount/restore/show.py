"""Runs `rpdrive restore` on an open vault, and prints progress and result."""

from __future__ import annotations

from contextlib import nullcontext

from catalog.screen.output import print_json, print_rows
from catalog.screen.stderr import Screen
from catalog.vault import Vault
from mount.restore.display import dry_lines, planned_json, report_json, summary
from mount.restore.job import Job


def run_and_show(job: Job, vault: Vault, machine: str | None, item: str | None, *, as_json: bool) -> bool:
    """Run a job, with its progress on stderr and its result on stdout. False if it had problems."""
    with nullcontext() if as_json else Screen() as screen:
        report = job.run(vault, machine, item, screen)
    if as_json:
        row = report_json(report, job.record, dry=job.dry_run)
        print_rows(row, "planned", planned_json(report)) if job.dry_run else print_json(row)
    else:
        for line in dry_lines(report, job.record) if job.dry_run else summary(report, job.record):
            print(line)
    return not report.problem_count
