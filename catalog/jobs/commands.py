"""The command about jobs. It parses, calls and prints; imports that cost are inside it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from catalog.access.session import Session

app = typer.Typer(rich_markup_mode=None)


@app.command("jobs")
def jobs(
    ctx: typer.Context,
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="one job in full: an id, or a start of one")
    ] = None,
    machine: Annotated[
        str | None, typer.Option(metavar="MACHINE", help="only of this machine: a name or id")
    ] = None,
    last: Annotated[int, typer.Option(metavar="N", min=0, help="only the last N; 0 for all")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """List backups and restores: when, how long, how much, and how they ended.

    Backups are those of every machine, kept in the vault; restores those of this machine, kept here.
    """
    session: Session = ctx.obj
    vault = session.open_vault()

    from catalog.jobs.listing import JOB_COLUMNS, job_columns, job_rows, job_text, one_job
    from catalog.jobs.local import LocalJobs
    from catalog.screen.text import safe_text, table

    local = LocalJobs(session.settings.where("state")).all()
    if job is not None:
        row = one_job(vault, local, job)
        print(json.dumps(row, indent=2) if as_json else job_text(row))
        return
    rows, damaged = job_rows(vault, local, machine, last)
    if as_json:
        print(json.dumps({"vault": session.address, "jobs": rows}, indent=2))
    elif rows:
        print(table(JOB_COLUMNS, [[safe_text(text) for text in row] for row in job_columns(rows)]))
    elif not damaged:
        print("There are no jobs here yet")
    if damaged:
        raise damaged[0]
