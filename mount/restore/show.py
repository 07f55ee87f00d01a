"""Runs `rpdrive restore` on an open vault, and prints progress and result."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

from catalog.screen.output import print_json, print_rows
from catalog.screen.stderr import Screen, warn
from catalog.vault import Vault
from mount.restore.display import dry_lines, planned_json, report_json, summary, surplus_lines
from mount.restore.job import Job
from mount.restore.volume.surplus import Surplus


def run_and_show(job: Job, vault: Vault, machine: str | None, item: str | None, *, as_json: bool) -> bool:
    """Run a job, with its progress on stderr and its result on stdout. False if it had problems."""
    with nullcontext() if as_json else Screen() as screen:
        if screen is None:
            report = job.run(vault, machine, item)
        else:
            report = job.run(vault, machine, item, screen, partial(_ask, screen, job), told(screen, job))
    if as_json:
        row = report_json(report, job.record, dry=job.dry_run)
        print_rows(row, "planned", planned_json(report)) if job.dry_run else print_json(row)
    else:
        for line in dry_lines(report, job.record) if job.dry_run else summary(report, job.record):
            print(line)
    return not report.problem_count


def told(screen: Screen, job: Job, what: str = "this restore") -> Callable[[int, int], None]:
    """Say what a restore costs before it fetches, if that is much."""
    from catalog.cost.before import Before
    from catalog.cost.use import Use

    before, use = Before(job.session), Use()

    def tell(requests: int, size: int) -> None:
        nonlocal use
        use += Use(read=requests, received=size)
        line = before.line(what, use)
        if line:
            with screen.aside():
                warn(line)

    return tell


def _ask(screen: Screen, job: Job, surplus: Surplus) -> bool | None:
    """Show what a roll-back removes, and have a person type "yes". None if nobody can."""
    if not sys.stdin.isatty():
        return None
    with screen.aside():
        for line in surplus_lines(surplus, job.record):
            print(line, file=sys.stderr)
        print('Restore the volume, and remove these? Type "yes": ', end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() == "yes"
