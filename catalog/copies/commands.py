"""The command line of `rpdrive vault copy`; show.py does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import Json, Limit, LimitDown, LimitUp

app = typer.Typer(rich_markup_mode=None)
vault_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(vault_app, name="vault")


@vault_app.command("copy")
def copy(
    ctx: typer.Context,
    to: Annotated[str, typer.Argument(metavar="TO", help="the copy's address: an empty place, or an earlier copy")],
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="also let go what the vault has let go at least 7 days ago")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="change nothing, print what differs and what would be done")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="read every object on both sides and compare them")
    ] = False,
    new: Annotated[
        bool, typer.Option("--new", help="begin another copy where this machine knows one that is away")
    ] = False,
    max_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="stop after this time, e.g. 30m or 6h; the next run goes on")
    ] = None,
    limit: Limit = None,
    limit_up: LimitUp = None,
    limit_down: LimitDown = None,
    as_json: Json = False,
) -> None:
    """Copy the vault to a second place, or bring that copy up to date.

    The copy opens with the same passphrase, and can be used as any vault for reading. Nobody else writes to it.
    """
    from catalog.copies.run import Request
    from catalog.copies.show import copy_and_show
    from catalog.screen.text import parse_duration
    from catalog.throttle.given import Given

    session: Session = ctx.obj
    seconds = None if max_time is None else parse_duration(max_time)
    request = Request(to, follow, dry_run, verify, new, seconds, Given(limit, limit_up, limit_down))
    code = copy_and_show(session, request, as_json=as_json)
    if code:
        raise typer.Exit(code)
