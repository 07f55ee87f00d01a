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
            help="how deep: 0 listings and records, 1 also all folders of all recovery points",
        ),
    ] = 1,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """Check that the vault has what its recovery points refer to, and name the files that it can't give back.

    Exits with 9 if something is damaged or missing.
    """
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.check.show"))
    from catalog.check.show import run_check

    code = run_check(session, vault, machine, item, level=level, as_json=as_json)
    if code:
        raise typer.Exit(code)
