"""The command line of `rpdrive test-restore`; job.py and show.py do the work."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import ItemName, Json, MachineName, importing

app = typer.Typer(rich_markup_mode=None)


@app.command("test-restore")
def test_restore(
    ctx: typer.Context,
    point: Annotated[
        str, typer.Argument(metavar="[POINT]", help="a point: an id or its start, a time, or `latest`")
    ] = "latest",
    files: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="read N files, chosen at random (default: 20)")
    ] = None,
    percent: Annotated[
        float | None, typer.Option(metavar="P", help="read so many per cent of the files instead")
    ] = None,
    mount: Annotated[
        bool, typer.Option("--mount", help="open the point as a drive, and read the files through it as well")
    ] = False,
    command: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="run this shell command in the drive's folder, e.g. 'pg_restore --list var/backups/db.dump'",
        ),
    ] = None,
    driver: Annotated[
        str,
        typer.Option(
            metavar="NAME", envvar="RPDRIVE_DRIVER", help="the driver of the drive, as in `rpdrive mount`"
        ),
    ] = "auto",
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """Test that a recovery point can be restored: read random files back and compare them. Writes nothing.

    Every byte is compared with the digests in the point and, if the file on this machine has not changed since,
    with that file. Exit code 0: all is well; 3: the command failed, or files here differ; 9: files can't be
    given back.
    """
    from mount.restoretest.job import Request, RestoreTest

    session: Session = ctx.obj
    test = RestoreTest(session, Request(point, machine, item, files, percent, mount, command, driver))
    from catalog.throttle.given import Given
    from catalog.throttle.limiting import limit_traffic

    limit_traffic(session, Given())
    vault = session.open_vault(meanwhile=importing("mount.restoretest.show"))
    from mount.restoretest.show import run_and_show

    code = run_and_show(test, vault, as_json=as_json)
    if code:
        raise typer.Exit(code)
