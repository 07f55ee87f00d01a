"""The command line of `rpdrive check`; show.py does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import ItemName, Json, MachineName, importing

app = typer.Typer(rich_markup_mode=None)


@app.command("check")
def check(
    ctx: typer.Context,
    level: Annotated[
        int,
        typer.Option(
            "--level",
            metavar="N",
            help="how deep: 0 listings and records, 1 also all folders of all recovery points, 2 also a share of"
            " all data, 3 all data",
        ),
    ] = 1,
    percent: Annotated[
        float | None,
        typer.Option(
            metavar="P", help="level 2: read so many per cent of the data, the longest unread first (default: 1)"
        ),
    ] = None,
    max_time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="levels 2 and 3: stop reading data after this time, e.g. 30m; the next run goes on from there",
        ),
    ] = None,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """Check that the vault has what its recovery points refer to, and name the files that it can't give back.

    Exits with 9 if something is damaged or missing. What was read is noted in the vault, so that level 2 at 1 % a
    day reads everything in 100 days. Level 4 is `rpdrive test-restore`.
    """
    from catalog.check.options import Options

    session: Session = ctx.obj
    options = Options(level, percent, max_time)
    options.check(item)
    vault = session.open_vault(meanwhile=importing("catalog.check.show"))
    from catalog.check.show import run_check

    code = run_check(session, vault, machine, item, options, as_json=as_json)
    if code:
        raise typer.Exit(code)
