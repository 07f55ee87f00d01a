"""The command lines of `rpdrive system`; show.py and its neighbours do the work."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import ItemName, Json, MachineName, importing

app = typer.Typer(rich_markup_mode=None)
system = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(system, name="system", help="Show, compare and apply the system state that a recovery point holds.")
Point = Annotated[str, typer.Argument(metavar="POINT", help="an id or its start, a time, or `latest`")]


@app.callback()
def _several() -> None:
    """Keep `system` a group, though it is the only command here."""


@system.command("show")
def show(
    ctx: typer.Context, *, point: Point, machine: MachineName = None, item: ItemName = None, as_json: Json = False
) -> None:
    """Show what a machine was made of: disks, volumes, file systems, boot, packages, users, units."""
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.inventory.show"))
    from catalog.inventory.show import show_state

    show_state(vault, point, machine, item, as_json=as_json)
