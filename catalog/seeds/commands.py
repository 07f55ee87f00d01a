"""The command line of `rpdrive seed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import Json, Limit, LimitUp

app = typer.Typer(rich_markup_mode=None)
seed = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Carry a first backup to the vault on disks.")
app.add_typer(seed, name="seed")


@seed.command("import")
def import_(
    ctx: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…", help="the folder of a disk or a twin, or the address of a staging container"
        ),
    ],
    *,
    verify: Annotated[bool, typer.Option("--verify", help="read back what is in the vault and compare it")] = False,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="take what is there of a seed that will not be complete; no recovery points come of it",
        ),
    ] = False,
    limit: Limit = None,
    limit_up: LimitUp = None,
    as_json: Json = False,
) -> None:
    """Put what is on disks of a seed into the vault. It needs no passphrase.

    Disks may come together or one by one, in any order. Recovery points appear when everything has arrived. Run the
    same command again after any interruption. Exits with 3 while a disk is missing, and with 9 if something is
    damaged.
    """
    session: Session = ctx.obj
    from catalog.seeds.importing import Request
    from catalog.seeds.show import show_import
    from catalog.throttle.given import Given
    from catalog.throttle.limiting import limit_traffic

    limit_traffic(session, Given(limit, limit_up, None))
    code = show_import(session, Request(sources, verify, partial), as_json=as_json)
    if code:
        raise typer.Exit(code)


@seed.command("export")
def export(
    ctx: typer.Context,
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE…", help="the folders of disks that are finished")],
    *,
    data_box: Annotated[
        Path,
        typer.Option("--data-box", metavar="DIR", help="make folders for Azure Data Box in this folder or share"),
    ],
    container: Annotated[
        str, typer.Option("--container", metavar="NAME", help="the container that they go to, which holds no vault")
    ] = "rpdrive-seed",
    as_json: Json = False,
) -> None:
    """Copy disks to a layout that Azure Data Box takes to a container, from where `seed import` takes them.

    It needs no vault and no passphrase.
    """
    session: Session = ctx.obj
    from catalog.seeds.show import show_export

    code = show_export(session, sources, data_box, container, as_json=as_json)
    if code:
        raise typer.Exit(code)
