"""The command line of `rpdrive snapshots`; show.py does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import Json

app = typer.Typer(rich_markup_mode=None)


@app.command("snapshots")
def snapshots(
    ctx: typer.Context,
    remove: Annotated[
        bool, typer.Option("--remove", help="remove those that backups left behind, and no others")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the snapshots of file systems that backups of this machine made and have not removed."""
    from backup.snapshot.show import show_snapshots

    session: Session = ctx.obj
    code = show_snapshots(session.settings, remove=remove, as_json=as_json)
    if code:
        raise typer.Exit(code)
