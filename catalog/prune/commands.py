"""The command line of `rpdrive prune`; show.py does the work."""

from __future__ import annotations

import typer

from catalog.access.session import Session
from catalog.screen.options import Json, MachineName, PruneDryRun, PruneTime, PruneYes, importing
from catalog.store.roles import Role

app = typer.Typer(rich_markup_mode=None)


@app.command("prune")
def prune(
    ctx: typer.Context,
    *,
    machine: MachineName = None,
    dry_run: PruneDryRun = False,
    max_time: PruneTime = None,
    yes: PruneYes = False,
    as_json: Json = False,
) -> None:
    """Let points go by policy, and free the space of what no recovery point needs any more."""
    session: Session = ctx.obj
    if not dry_run:
        session.require(Role.MAINTAIN)
    from catalog.screen.text import parse_duration

    seconds = None if max_time is None else parse_duration(max_time)
    vault = session.open_vault(meanwhile=importing("catalog.prune.show"))
    from catalog.prune.job import Request
    from catalog.prune.show import prune_vault

    code = prune_vault(session, vault, Request(machine, dry_run, seconds, yes), as_json=as_json)
    if code:
        raise typer.Exit(code)
