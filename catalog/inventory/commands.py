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
    vault = session.open_vault(meanwhile=importing("catalog.inventory.show"), reading=True)
    from catalog.inventory.show import show_state

    show_state(vault, point, machine, item, as_json=as_json)


@system.command("diff")
def diff(
    ctx: typer.Context,
    *,
    point: Point,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="PART",
            help="machine, layout, fstab, packages, users, groups, units, alternatives or sysctl: only that",
        ),
    ] = None,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """Compare a system state with this machine: - missing here, + only here, M different (point -> here).

    The exit code is 0 whether there are differences or not.
    """
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.inventory.apply"), reading=True)
    from catalog.inventory.apply import Which, show_differences

    show_differences(vault, Which(point, machine, item), only, as_json=as_json)


@system.command("apply")
def apply(
    ctx: typer.Context,
    *,
    point: Point,
    only: Annotated[str, typer.Option(metavar="PART", help="packages, users, units or etc")],
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="show the commands, run none")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="run the commands without asking")] = False,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """Bring a fresh installation closer to a system state: shows the commands, asks, and runs them one by one.

    Nothing is removed, stopped or replaced, no id that exists is changed, and nobody gets more rights. Run it again
    after an interruption: what is done stays done. Debian and its relatives only.
    """
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.inventory.apply"), reading=True)
    from catalog.inventory.apply import Which, apply_state

    apply_state(session, vault, Which(point, machine, item), only, dry=dry_run, yes=yes, as_json=as_json)


@system.command("check")
def check(ctx: typer.Context, *, machine: MachineName = None, as_json: Json = False) -> None:
    """Say which file systems of this machine the vault holds, and which a bare-metal rebuild would still need.

    The exit code is 3 if a rebuild would miss something, else 0.
    """
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.inventory.check"), reading=True)
    from catalog.inventory.check import check_held

    code = check_held(session, vault, machine, as_json=as_json)
    if code:
        raise typer.Exit(code)
