"""The command lines of `rpdrive points` and `rpdrive ls`; show.py does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import All, ItemName, Json, MachineName, importing

app = typer.Typer(rich_markup_mode=None)


@app.command("points")
def points(
    ctx: typer.Context,
    machine: MachineName = None,
    item: ItemName = None,
    every: All = False,
    last: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="only the last N points; 0 for all; default: 100")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="only points from this time on")] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="only points up to the end of this time, e.g. of a day")
    ] = None,
    why: Annotated[bool, typer.Option("--why", help="show why, and until when, each point is kept")] = False,
    deleted: Annotated[
        bool, typer.Option("--deleted", help="list forgotten points, which can be brought back, and what is gone")
    ] = False,
    as_json: Json = False,
) -> None:
    """List recovery points, the newest last.

    The last 100 are listed; `--last`, `--since` and `--until` choose others. With `--json` it is all, unless one of
    these is given.
    """
    session: Session = ctx.obj
    if deleted:
        vault = session.open_vault(meanwhile=importing("catalog.points.deleted"), reading=True)
        from catalog.points.deleted import show_deleted

        show_deleted(session, vault, machine, item, as_json=as_json)
        return
    if since is not None or until is not None:  # a malformed one is an error before the passphrase is asked
        from catalog.points.shown import Span

        Span.parsed(since, until)
    vault = session.open_vault(meanwhile=importing("catalog.points.show"), reading=True)
    from catalog.points.show import Wanted, show_points

    show_points(session, vault, machine, item, Wanted(last, since, until, every, why), as_json=as_json)


@app.command("ls")
def ls(
    ctx: typer.Context,
    *,
    place: Annotated[
        str,
        typer.Argument(
            metavar="POINT[:PATH]", help="a point (an id or its start, a time, or `latest`), and a path in it"
        ),
    ],
    long: Annotated[
        bool, typer.Option("-l", "--long", help="like `ls -l`; a folder's size is that of all files in it")
    ] = False,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """List a folder of a recovery point.

    For example: `latest:home`, `5f3a9c01`, `2026-11-17:/etc` (the last point of that day),
    `2026-11-17 08:30:/usr/share` (the last at or before that minute, local time).
    """
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.points.show"), reading=True)
    from catalog.points.show import show_folder

    show_folder(vault, place, machine, item, long=long, as_json=as_json)
