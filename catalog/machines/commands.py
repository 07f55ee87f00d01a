"""The command lines of `rpdrive machine …`; actions.py does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.errors import UsageError
from catalog.screen.options import All, Json, importing
from catalog.store.roles import Role

app = typer.Typer(rich_markup_mode=None)
machine_app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Register, list, rename and forget machines."
)
app.add_typer(machine_app, name="machine")

Which = Annotated[str, typer.Argument(metavar="MACHINE", help="the machine's name, its id, or the start of its id")]


@machine_app.command("register")
def register(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="the machine's name; default: the host name")
    ] = None,
    take_over: Annotated[
        str | None,
        typer.Option(metavar="MACHINE", help="continue as the machine MACHINE, e.g. after a new installation"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Register this machine in the vault. Without this command, its first backup registers it."""
    if name is not None and take_over is not None:
        raise UsageError("--name and --take-over exclude each other", "take over first, then rename")
    session: Session = ctx.obj
    session.require(Role.BACKUP)
    vault = session.open_vault(meanwhile=importing("catalog.machines.actions"))
    from catalog.machines.actions import register_here

    register_here(session, vault, name, take_over, as_json=as_json)


@machine_app.command("list")
def list_machines(ctx: typer.Context, every: All = False, as_json: Json = False) -> None:
    """List the machines of the vault."""
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.machines.actions"))
    from catalog.machines.actions import show_machines

    show_machines(session, vault, every=every, as_json=as_json)


@machine_app.command("rename")
def rename(
    ctx: typer.Context,
    machine: Which,
    name: Annotated[str, typer.Argument(metavar="NAME", help="the new name")],
    as_json: Json = False,
) -> None:
    """Rename a machine. All its points show the new name at once; its backups go on as before."""
    session: Session = ctx.obj
    session.require(Role.BACKUP)
    vault = session.open_vault(meanwhile=importing("catalog.machines.actions"))
    from catalog.machines.actions import rename_machine

    rename_machine(vault, machine, name, as_json=as_json)


@machine_app.command("forget")
def forget(
    ctx: typer.Context,
    machine: Which,
    undo: Annotated[bool, typer.Option("--undo", help="show the machine again")] = False,
    force: Annotated[bool, typer.Option("--force", help="also forget the machine you are on")] = False,
    as_json: Json = False,
) -> None:
    """Hide a machine from lists and drives, except where it is named.

    Its points are kept and can be restored: name the machine with --machine. Its next backup shows it again.
    """
    session: Session = ctx.obj
    session.require(Role.BACKUP)
    vault = session.open_vault(meanwhile=importing("catalog.machines.actions"))
    from catalog.machines.actions import forget_machine

    forget_machine(session, vault, machine, undo=undo, force=force, as_json=as_json)
