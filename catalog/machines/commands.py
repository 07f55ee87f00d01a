"""Commands about the machines of a vault. They parse, call and print; imports that cost are inside them."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.errors import UsageError
from catalog.screen.options import Json
from catalog.store.roles import Role

app = typer.Typer(rich_markup_mode=None)
machine_app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Register, list, rename and forget machines."
)
app.add_typer(machine_app, name="machine")

Which = Annotated[str, typer.Argument(metavar="MACHINE", help="a name, an id or a unique start of one")]


@machine_app.command("register")
def register(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="its name; else the host name")] = None,
    take_over: Annotated[
        str | None, typer.Option(metavar="MACHINE", help="go on as this machine, as after a new installation")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make this machine one of the vault's. The first backup does so otherwise."""
    if name is not None and take_over is not None:
        raise UsageError("--name and --take-over exclude each other", "take over first, then rename")
    session: Session = ctx.obj
    session.require(Role.BACKUP)
    vault = session.open_vault()

    from catalog.machines import registry as machines
    from catalog.machines.registry import choose_named

    state = session.settings.state
    machine = machines.registered_here(vault, state)
    if take_over is not None:
        chosen = choose_named(vault.machines(), take_over, "machine")
        new, machine = machine is None or machine.id != chosen.id, machines.take_over(vault, state, chosen)
    elif machine is None:
        new, machine = True, machines.register(vault, state, name)
    else:
        if name not in (None, machine.name):
            raise UsageError(
                f"this machine is registered already, as {machine.name}",
                f"give it another name by `rpdrive machine rename {machine.id.hex()[:8]} NAME`",
            )
        new, machine = False, machines.this_machine(vault, state)
    session.settings.remember_vault(session.address, vault.id)
    if as_json:
        print(json.dumps({"id": machine.id.hex(), "name": machine.name, "registered": new}, indent=2))
    else:
        print(f"This machine {'is now' if new else 'was already'} {machine.name} ({machine.id.hex()[:8]})")


@machine_app.command("list")
def list_machines(
    ctx: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="forgotten ones too")] = False,
    as_json: Json = False,
) -> None:
    """List the machines of the vault."""
    session: Session = ctx.obj
    vault = session.open_vault()

    from catalog.machines.listing import MACHINE_COLUMNS, machine_rows, machines_json
    from catalog.machines.registry import Known
    from catalog.screen.text import safe_text, table

    known = Known.load(session.settings.where("state"), vault)
    rows = machines_json(vault, known.machine if known else None)
    rows = [row for row in rows if every or not row["forgotten"]]
    if as_json:
        print(json.dumps({"vault": session.address, "machines": rows}, indent=2))
    elif rows:
        print(table(MACHINE_COLUMNS, [[safe_text(text) for text in row] for row in machine_rows(rows)]))
    else:
        print("There are no machines here yet; the first backup registers one, or `rpdrive machine register`")


@machine_app.command("rename")
def rename(
    ctx: typer.Context,
    machine: Which,
    name: Annotated[str, typer.Argument(metavar="NAME", help="the new name")],
    as_json: Json = False,
) -> None:
    """Give a machine another name: its points show it at once, and nothing starts over."""
    session: Session = ctx.obj
    session.require(Role.BACKUP)
    vault = session.open_vault()

    from catalog.machines import registry as machines
    from catalog.machines.registry import choose_named

    chosen = choose_named(vault.machines(), machine, "machine")
    renamed = machines.rename(vault, chosen.id, name)
    if as_json:
        print(json.dumps({"id": renamed.id.hex(), "name": renamed.name, "before": chosen.name}, indent=2))
    else:
        print(f"The machine {chosen.name} ({chosen.id.hex()[:8]}) is now called {renamed.name}")


@machine_app.command("forget")
def forget(
    ctx: typer.Context,
    machine: Which,
    undo: Annotated[bool, typer.Option("--undo", help="show it again")] = False,
    force: Annotated[bool, typer.Option("--force", help="though it is the machine this command runs on")] = False,
    as_json: Json = False,
) -> None:
    """Leave a machine out of lists and drives, unless they are asked for it.

    Its points stay, and can be restored: name it with --machine. A backup from it brings it back.
    """
    session: Session = ctx.obj
    session.require(Role.BACKUP)
    vault = session.open_vault()

    from catalog.machines import registry as machines
    from catalog.machines.registry import choose_named

    chosen = choose_named(vault.machines(), machine, "machine")
    here = machines.Known.load(session.settings.where("state"), vault)
    if here is not None and here.machine == chosen.id.hex() and not (undo or force):
        raise UsageError(
            f"{chosen.name} is the machine that this command runs on: its next backup would bring it back",
            "forget it from another machine, or use --force if it makes no more backups",
        )
    forgotten = machines.forget(vault, chosen.id, not undo)
    if as_json:
        row = {"id": forgotten.id.hex(), "name": forgotten.name, "forgotten": forgotten.forgotten}
        print(json.dumps(row, indent=2))
    elif undo:
        print(f"The machine {forgotten.name} is shown again")
    else:
        print(f"Forgot the machine {forgotten.name} ({forgotten.id.hex()[:8]}); its points stay in the vault")
