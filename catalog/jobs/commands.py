"""The command line of `rpdrive jobs`; show.py does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import Json, importing

app = typer.Typer(rich_markup_mode=None)


@app.command("jobs")
def jobs(
    ctx: typer.Context,
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="show this job in full: an id or its start")
    ] = None,
    machine: Annotated[
        str | None, typer.Option(metavar="MACHINE", help="only jobs of this machine: a name or id")
    ] = None,
    last: Annotated[int, typer.Option(metavar="N", min=0, help="only the last N jobs; 0 for all")] = 50,
    as_json: Json = False,
) -> None:
    """List backups and restores: when they ran, how long they took, what they covered and how they ended.

    Backups are listed for all machines: their records are in the vault. Restores are listed for this machine only,
    which keeps their records.
    """
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.jobs.show"), reading=True)
    from catalog.jobs.show import show_job, show_jobs

    if job is None:
        show_jobs(session, vault, machine, last, as_json=as_json)
    else:
        show_job(session, vault, job, as_json=as_json)
