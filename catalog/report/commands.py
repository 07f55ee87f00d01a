"""The command line of `rpdrive report`; show.py does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import Json

app = typer.Typer(rich_markup_mode=None)


@app.command("report")
def report(
    ctx: typer.Context,
    since: Annotated[
        str,
        typer.Option(metavar="WHEN", help="from when on: a length of time, e.g. 7d, or a date, e.g. 2026-11-01"),
    ] = "30d",
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="write a page with charts into this file")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all-machines", help="report on all machines, from the records in the vault")
    ] = False,
    as_json: Json = False,
) -> None:
    """Report how the jobs of this machine went, what they covered, and what comes next.

    This machine's own records are enough for that: no vault is opened, except with --all-machines.
    """
    session: Session = ctx.obj
    from catalog.report.show import show_report

    show_report(session, since, html, everything=everything, as_json=as_json)
