"""The command line of `rpdrive system plan`; job.py does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import ItemName, MachineName, importing

app = typer.Typer(rich_markup_mode=None)
system = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(system, name="system")  # joined with the other commands of this group, which catalog/inventory has


@app.callback()
def _several() -> None:
    """Keep `system` a group, though it is the only command here."""


@system.callback()
def _also_several() -> None:
    """Keep `plan` a command of the group, though it is the only one here."""


@system.command("plan")
def plan(
    ctx: typer.Context,
    *,
    point: Annotated[str, typer.Argument(metavar="POINT", help="an id or its start, a time, or `latest`")],
    disk: Annotated[
        list[str] | None,
        typer.Option(
            "--disk",
            metavar="OLD=/dev/NEW",
            help="put an old disk on a new one, or leave it out: OLD=none; may be repeated",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="write the script there instead of stdout")
    ] = None,
    wipe: Annotated[bool, typer.Option("--wipe", help="let the script erase new disks that are not empty")] = False,
    grow: Annotated[
        bool, typer.Option("--grow", help="let the last partition of each disk fill a larger one")
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="DEVICE", help="leave out what is on an old device; may be repeated"),
    ] = None,
    machine: MachineName = None,
    item: ItemName = None,
) -> None:
    """Write a shell script that rebuilds a machine on empty disks. It is for reading first; nothing runs it.

    For example, in a rescue system: `rpdrive system plan latest --disk /dev/sda=/dev/vda -o rebuild.sh`.
    """
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("mount.rebuild.job"), reading=True)
    from mount.rebuild.job import Asked, plan_on

    asked = Asked(point, machine, item, disk or [], wipe, grow, without or [])
    plan_on(vault, asked, address=session.address, output=output)
