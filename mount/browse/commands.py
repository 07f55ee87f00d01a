"""The command line of `rpdrive browse`; server/ does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import importing

app = typer.Typer(rich_markup_mode=None)


@app.command("browse")
def browse(
    ctx: typer.Context,
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="the port (default: a free one)")] = 0,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="show and download only: no restores, no drives")
    ] = False,
) -> None:
    """Show recovery points as a page in a browser: find files and their versions, see them, have them back."""
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("mount.browse.server.command"))
    from mount.browse.server.command import run

    run(session, vault, port=port, read_only=read_only)
