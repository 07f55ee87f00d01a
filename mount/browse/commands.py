"""The command line of `rpdrive browse`; server/ does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import Json

app = typer.Typer(rich_markup_mode=None)


@app.command("browse")
def browse(
    ctx: typer.Context,
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="the port (default: a free one)")] = 0,
    socket: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="also listen at a Unix socket, which `ssh -L` can reach; not on Windows"),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS[:PORT]",
            help="also listen for other devices, by TLS, at a name or address of this machine",
        ),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="show and download only: no restores, no drives")
    ] = False,
    allow_restore: Annotated[
        bool, typer.Option("--allow-restore", help="with --listen: not read-only; restores and drives are possible")
    ] = False,
    idle: Annotated[
        str,
        typer.Option(metavar="TIME", help="end after this time without a request or a job, e.g. 30m; `off`: never"),
    ] = "1h",
    no_open: Annotated[bool, typer.Option("--no-open", help="print the link, and open no browser")] = False,
    link: Annotated[bool, typer.Option("--link", help="print a new link of the page that runs")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="end the page that runs")] = False,
    as_json: Json = False,
) -> None:
    """Show recovery points as a page in a browser: find files and their versions, see them, have them back."""
    from mount.browse import options
    from mount.browse.server import start

    session: Session = ctx.obj
    told = options.parsed(
        port=port, socket=socket, listen=listen, read_only=read_only, allow_restore=allow_restore, idle=idle,
        no_open=no_open, as_json=as_json,
    )  # fmt: skip
    if link or stop:
        start.order(session, told, link=link, stop=stop)
    else:
        start.start(session, told)
