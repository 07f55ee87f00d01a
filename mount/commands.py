"""The command lines of `rpdrive mount`, `unmount` and `mounts`.

Each is a signature and a call: modules that take time to load are imported when a command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import Json, Limit, LimitDown, LimitUp

app = typer.Typer(rich_markup_mode=None)


@app.command("mount")
def mount(
    ctx: typer.Context,
    mount_point: Annotated[
        Path,
        typer.Argument(
            metavar="MOUNTPOINT",
            help=r"an empty folder; on Windows also a letter (`R:`), `*` for the next free one, or \\rpdrive\NAME",
        ),
    ],
    point: Annotated[
        str | None, typer.Option(metavar="POINT", help="one recovery point: an id, a time, or `latest`")
    ] = None,
    machine: Annotated[str | None, typer.Option(metavar="MACHINE", help="only this machine (name or id)")] = None,
    item: Annotated[str | None, typer.Option(metavar="ITEM", help="only this item (name or id)")] = None,
    allow_other: Annotated[
        bool, typer.Option("--allow-other", help="allow other users to access the drive")
    ] = False,
    foreground: Annotated[
        bool, typer.Option("--foreground", "-f", help="serve the drive in this process until it is closed")
    ] = False,
    driver: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            envvar="RPDRIVE_DRIVER",
            help="`kernel` (Linux only), `fuse` (libfuse), `winfsp` (Windows only), or `auto`",
        ),
    ] = "auto",
    cache_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="disk cache limit, e.g. 10G; a local vault has no disk cache unless this is given",
        ),
    ] = None,
    read_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1.0, help="how long a read waits for the store before it fails")
    ] = 60.0,
    idle: Annotated[
        str | None, typer.Option(metavar="TIME", help="close the drive after this time without use, e.g. 30m or 6h")
    ] = None,
    total: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="TIME", help="close the drive after this time even if in use, e.g. 24h or 2d"
        ),
    ] = None,
    limit: Limit = None,
    limit_up: LimitUp = None,
    limit_down: LimitDown = None,
    at_login: Annotated[
        bool,
        typer.Option("--at-login", help="open the drive at every login of this user, by a systemd unit or a task"),
    ] = False,
    service: Annotated[
        bool,
        typer.Option(
            "--service", help="open the drive at every start of the machine; on Windows, the same as --at-login"
        ),
    ] = False,
    disk: Annotated[
        bool,
        typer.Option("--disk", help="Windows only: mount a drive letter as a local disk, not as a network drive"),
    ] = False,
) -> None:
    """Open one recovery point, or all of them, as a read-only drive."""
    from mount import opening

    session: Session = ctx.obj
    request = opening.Request(
        mount_point, point, machine, item, allow_other, driver, cache_size, read_timeout, idle, total, disk,
        limit, limit_up, limit_down,
    )  # fmt: skip
    if at_login or service:
        for line in opening.open_by_itself(session, request, at_login=at_login, service=service):
            print(line)
    elif foreground:
        opening.serve_in_foreground(session, request, lambda opened: print(opened.text(), flush=True))
    else:
        print(opening.open_in_background(session, request).text())


@app.command("unmount")
def unmount(
    ctx: typer.Context,
    mount_point: Annotated[
        Path, typer.Argument(metavar="MOUNTPOINT", help="the drive's mount point, as `rpdrive mounts` shows it")
    ],
    lazy: Annotated[
        bool, typer.Option("--lazy", "--force", help="detach the drive at once, even if files on it are open")
    ] = False,
    at_login: Annotated[
        bool, typer.Option("--at-login", help="also remove the unit or task that opens the drive at login")
    ] = False,
    service: Annotated[
        bool, typer.Option("--service", help="also remove the unit that opens the drive at the machine's start")
    ] = False,
) -> None:
    """Close a drive."""
    from mount import closing

    session: Session = ctx.obj
    if at_login or service:
        for line in closing.close_for_good(session, mount_point, at_login=at_login, service=service, lazy=lazy):
            print(line)
    else:
        closing.close(session, mount_point, lazy=lazy)


@app.command("mounts")
def mounts(ctx: typer.Context, as_json: Json = False) -> None:
    """List the open drives, and what they have fetched and served."""
    from mount import listing

    listing.show_drives(ctx.obj, as_json=as_json)
