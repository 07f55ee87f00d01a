"""The command line of `rpdrive repair`; show.py does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import Json, MachineName

app = typer.Typer(rich_markup_mode=None)


@app.command("repair")
def repair(
    ctx: typer.Context,
    machine: MachineName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do it without asking")] = False,
    read: Annotated[
        bool, typer.Option("--read", help="read all data that points need, not only what is suspected")
    ] = False,
    acknowledge: Annotated[
        bool,
        typer.Option(
            "--acknowledge", help="give up folders that can't be read: upkeep may then remove their files"
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Repair the vault: make lost records anew, find other copies of lost data, and name what stays lost.

    With --also, what is lost is taken from another place of the vault. Otherwise the next backup stores again what
    its source still has; after it, repair once more. Nothing is deleted, and no recovery point is changed. Exits
    with 3 if something stays lost.
    """
    session: Session = ctx.obj
    from catalog.repair.show import Request, run_repair

    code = run_repair(session, Request(machine, dry_run, yes, read, acknowledge, as_json))
    if code:
        raise typer.Exit(code)
