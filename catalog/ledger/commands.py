"""The command lines of `rpdrive forget`, `undelete`, `hold` and `release`; actions.py does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import ItemName, Json, MachineName, importing
from catalog.store.roles import Role

app = typer.Typer(rich_markup_mode=None)

_ACTIONS = "catalog.ledger.actions"
Points = Annotated[
    list[str] | None, typer.Argument(metavar="POINT…", help="points: ids or their starts, times, or `latest`")
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="why, for people who look later")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="change nothing, print what would be done")]
Date = "a local date or time, e.g. 2026-12-31"


@app.command("forget")
def forget(
    ctx: typer.Context,
    points: Points = None,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="all points of the item or machine that is named, the newest too")
    ] = False,
    newest: Annotated[
        bool, typer.Option("--newest", help="confirm that the newest whole point of an item is meant, too")
    ] = False,
    missing: Annotated[
        bool, typer.Option("--missing", help="accept that points of the item or machine have vanished")
    ] = False,
    damaged: Annotated[
        bool, typer.Option("--damaged", help="give up points whose own record does not open, for good")
    ] = False,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help=f"keep them at hand longer, until {Date}")
    ] = None,
    now: Annotated[
        bool, typer.Option("--now", help="let the next run of prune take them: they can't be brought back")
    ] = False,
    reason: Reason = "",
    machine: MachineName = None,
    item: ItemName = None,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="confirm that so many points go at once")] = False,
    as_json: Json = False,
) -> None:
    """Forget recovery points: they are hidden, can be brought back for 14 days or more, and then go.

    Nothing is deleted until `rpdrive prune` runs after that time. `rpdrive undelete` brings points back.
    """
    session: Session = ctx.obj
    session.require(Role.ADMIN if now else Role.MAINTAIN)
    from catalog.ledger.request import Forgetting

    request = Forgetting.of(
        points or [], every=every, newest=newest, missing=missing, damaged=damaged, until=until, now=now,
        reason=reason, machine=machine, item=item, dry_run=dry_run, yes=yes,
    )  # fmt: skip
    vault = session.open_vault(meanwhile=importing(_ACTIONS))
    from catalog.ledger.actions import forget_points

    forget_points(session, vault, request, as_json=as_json)


@app.command("undelete")
def undelete(
    ctx: typer.Context,
    points: Points = None,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="all points of the item or machine that is named, or of the vault")
    ] = False,
    machine: MachineName = None,
    item: ItemName = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Bring forgotten points back; `rpdrive points --deleted` lists them."""
    session: Session = ctx.obj
    session.require(Role.MAINTAIN)
    from catalog.ledger.request import Choice

    choice = Choice.of(points or [], machine, item, every=every, anywhere=True)
    vault = session.open_vault(meanwhile=importing(_ACTIONS))
    from catalog.ledger.actions import undelete_points

    undelete_points(session, vault, choice, dry_run=dry_run, as_json=as_json)


@app.command("hold")
def hold(
    ctx: typer.Context,
    points: Points = None,
    *,
    until: Annotated[str | None, typer.Option(metavar="DATE", help=f"only until {Date}")] = None,
    reason: Reason = "",
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """Hold recovery points: no policy removes them, and nobody can forget them, until they are released."""
    session: Session = ctx.obj
    session.require(Role.MAINTAIN)
    from catalog.ledger.request import Choice, time_of

    choice = Choice.of(points or [], machine, item)
    end = None if until is None else time_of(until)
    vault = session.open_vault(meanwhile=importing(_ACTIONS))
    from catalog.ledger.actions import hold_points

    hold_points(session, vault, choice, end, reason, as_json=as_json)


@app.command("release")
def release(
    ctx: typer.Context,
    points: Points = None,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """Release points that are held: policies count again for them."""
    session: Session = ctx.obj
    session.require(Role.MAINTAIN)
    from catalog.ledger.request import Choice

    choice = Choice.of(points or [], machine, item)
    vault = session.open_vault(meanwhile=importing(_ACTIONS))
    from catalog.ledger.actions import release_points

    release_points(session, vault, choice, as_json=as_json)
