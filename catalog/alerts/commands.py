"""The command lines of `rpdrive alerts`, `health` and `watch`; show.py does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import Json, importing

app = typer.Typer(rich_markup_mode=None)
alerts_app = typer.Typer(rich_markup_mode=None)
app.add_typer(alerts_app, name="alerts")


@alerts_app.callback(invoke_without_command=True)
def alerts(
    ctx: typer.Context,
    closed: Annotated[bool, typer.Option("--all", help="include those that are resolved")] = False,
    as_json: Json = False,
) -> None:
    """List what is wrong with the protection of machines, as far as this machine has noticed.

    Sends no request: `rpdrive watch` and the timer look for what is new. Lists those of all vaults unless --vault
    names one.
    """
    if ctx.invoked_subcommand is not None:
        return
    from catalog.alerts.show import show_alerts

    show_alerts(ctx.obj, closed=closed, as_json=as_json)


@alerts_app.command("ack")
def ack(
    ctx: typer.Context,
    which: Annotated[str, typer.Argument(metavar="ID", help="the alert's id, or its start, as the list shows it")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="why, for those who look at it later")] = "",
    as_json: Json = False,
) -> None:
    """Acknowledge an alert: it reminds of itself no more. This resolves one about an act, e.g. a deletion."""
    from catalog.alerts.show import acknowledge_alert

    acknowledge_alert(ctx.obj, which, reason, as_json=as_json)


@app.command("health")
def health(
    ctx: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="all machines of the vault, and not only this one")] = False,
    as_json: Json = False,
) -> int:
    """Show how well each item is protected, on one screen.

    The exit code is one for monitoring: 0 fine, 1 warning, 2 critical (docs/exit-codes.md).
    """
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.alerts.show"))
    from catalog.alerts.show import show_health

    return show_health(session, vault, every=every, as_json=as_json)


@app.command("watch")
def watch(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="look once, and end")] = False,
    every: Annotated[str, typer.Option(metavar="TIME", help="look so often, e.g. 15m or 1h")] = "1h",
    as_json: Json = False,
) -> None:
    """Watch all machines of the vault, and tell when one is late, was killed, or lost protection.

    It may run on any machine that can read the vault. Who is told is set up with `rpdrive notify`. Each look pings
    the dead man's switches for `watch`, so that somebody notices if it ends.
    """
    from catalog.alerts.show import run_watch

    run_watch(ctx.obj, once=once, every=every, as_json=as_json)
