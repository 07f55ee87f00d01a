"""The command line of `rpdrive seed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import Json, Limit, LimitUp, importing
from catalog.store.roles import Role

app = typer.Typer(rich_markup_mode=None)
seed = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Carry a first backup to the vault on disks.")
app.add_typer(seed, name="seed")

Label = Annotated[str, typer.Option(metavar="TEXT", help="a name for the disk (default: that of the folder)")]
_BODY = "catalog.seeds.outbound"


@seed.command("start")
def start(
    ctx: typer.Context,
    *,
    disk: Annotated[Path, typer.Option(metavar="DIR", help="an empty folder on the first disk")],
    keep_local: Annotated[
        Path | None, typer.Option(metavar="DIR", help="keep all objects here, too, and go on backing up to here")
    ] = None,
    item: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="only this item; can be repeated (default: items without points)"),
    ] = None,
    label: Label = "",
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="when the disks must have arrived, 366d at most")
    ] = "180d",
    as_json: Json = False,
) -> None:
    """Let the first backups of this machine go to a disk, from now on."""
    session: Session = ctx.obj
    session.require(Role.BACKUP)
    from catalog.screen.text import parse_duration

    seconds = parse_duration(expires)
    vault = session.open_vault(meanwhile=importing(_BODY))
    from catalog.seeds.outbound import start_seed
    from catalog.seeds.starting import Wish

    wish = Wish(disk, keep_local, tuple(item or ()), label, seconds)
    start_seed(session, vault, wish, as_json=as_json)


@seed.command("add-disk")
def add_disk(
    ctx: typer.Context,
    disk: Annotated[Path, typer.Argument(metavar="DIR", help="an empty folder on another disk, or a known disk")],
    *,
    label: Label = "",
    as_json: Json = False,
) -> None:
    """Add a disk to the seed, or say where one of its disks is now."""
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing(_BODY))
    from catalog.seeds.outbound import add_one

    add_one(session, vault, disk, label, as_json=as_json)


@seed.command("close")
def close(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Read the disks back, and make them ready to travel."""
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing(_BODY))
    from catalog.seeds.outbound import close_seed

    code = close_seed(session, vault, as_json=as_json)
    if code:
        raise typer.Exit(code)


@seed.command("status")
def status(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Show the seed of this machine: its disks, where they are, and what of them has arrived."""
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing(_BODY))
    from catalog.seeds.outbound import show_status

    show_status(session, vault, as_json=as_json)


@seed.command("abandon")
def abandon(
    ctx: typer.Context,
    *,
    machine: Annotated[
        str | None,
        typer.Option("--machine", metavar="MACHINE", help="those of this machine (name or id), e.g. a lost one"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Give the seed up: backups go into the vault again, and use what of it has arrived."""
    session: Session = ctx.obj
    session.require(Role.BACKUP)
    vault = session.open_vault(meanwhile=importing(_BODY))
    from catalog.seeds.outbound import abandon_seed

    abandon_seed(session, vault, machine, as_json=as_json)


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
