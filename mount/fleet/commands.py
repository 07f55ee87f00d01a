"""The command line of `rpdrive fleet`."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.errors import WITH_PROBLEMS
from catalog.screen.options import (
    ItemName,
    Json,
    MachineName,
    NoPermissions,
    OnConflict,
    PruneDryRun,
    PruneTime,
    PruneYes,
    RestoreExclude,
    RestoreInclude,
    RestoreVerify,
    TrustModes,
    importing,
)
from catalog.store.roles import Role

app = typer.Typer(rich_markup_mode=None)
fleet = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(fleet, name="fleet", help="Check, prune, test and restore a vault by many processes or machines.")

On = Annotated[
    str,
    typer.Option(
        "--on",
        metavar="FLEET",
        help="local:N, that many processes here; or dask://HOST:PORT, a scheduler's workers",
    ),
]


@fleet.command("check")
def check(
    ctx: typer.Context,
    *,
    on: On,
    level: Annotated[
        int, typer.Option("--level", metavar="N", help="how deep, from 0 to 3, as in `rpdrive check`")
    ] = 1,
    percent: Annotated[
        float | None, typer.Option(metavar="P", help="level 2: read so many per cent of the data (default: 1)")
    ] = None,
    max_time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="levels 2 and 3: stop reading data after this time; the next run goes on"
        ),
    ] = None,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """As `rpdrive check`: each worker checks a machine, or reads a part of the packs, at a time."""
    session: Session = ctx.obj
    from catalog.check.options import Options
    from mount.fleet.opening import check_on, open_fleet

    options = Options(level, percent, max_time)
    options.check(item)
    check_on(on)
    vault = session.open_vault(meanwhile=importing("mount.fleet.check_show"))
    from mount.fleet.check_show import check_fleet

    with open_fleet(session, vault, on) as opened:
        code = check_fleet(session, vault, opened, machine, item, options, as_json=as_json)
    if code:
        raise typer.Exit(code)


@fleet.command("prune")
def prune(
    ctx: typer.Context,
    *,
    on: On,
    machine: MachineName = None,
    dry_run: PruneDryRun = False,
    max_time: PruneTime = None,
    yes: PruneYes = False,
    as_json: Json = False,
) -> None:
    """As `rpdrive prune`: each worker prunes a machine at a time."""
    session: Session = ctx.obj
    if not dry_run:
        session.require(Role.MAINTAIN)
    from mount.fleet.opening import check_on, open_fleet

    check_on(on)
    from catalog.screen.text import parse_duration

    seconds = None if max_time is None else parse_duration(max_time)
    vault = session.open_vault(meanwhile=importing("mount.fleet.pruning"))
    from catalog.prune.job import Request
    from mount.fleet.pruning import prune_fleet

    needs = "" if dry_run else str(Role.MAINTAIN)
    with open_fleet(session, vault, on, needs=needs, signs=not dry_run) as opened:
        code = prune_fleet(session, vault, opened, Request(machine, dry_run, seconds, yes), as_json=as_json)
    if code:
        raise typer.Exit(code)


@fleet.command("test-restore")
def test_restore(
    ctx: typer.Context,
    point: Annotated[
        str, typer.Argument(metavar="POINT", help="the recovery point: latest, an id, a time")
    ] = "latest",
    *,
    on: On,
    machine: MachineName = None,
    item: ItemName = None,
    every_item: Annotated[
        bool, typer.Option("--every-item", help="test the newest recovery point of each item, in place of POINT")
    ] = False,
    files: Annotated[
        int | None, typer.Option("--files", min=1, metavar="N", help="how many files (default: 20)")
    ] = None,
    percent: Annotated[float | None, typer.Option(metavar="P", help="read so many per cent of the files")] = None,
    as_json: Json = False,
) -> None:
    """As `rpdrive test-restore`: files at random are read back, by all workers, and compared."""
    session: Session = ctx.obj
    from mount.fleet.opening import check_on, open_fleet

    check_on(on)
    from catalog.errors import UsageError
    from mount.restoretest.job import Request

    request = Request(point, machine, item, files, percent, False, None, "auto")
    request.check()
    if every_item and point != "latest":
        raise UsageError("--every-item tests the newest recovery points", "leave POINT out")
    vault = session.open_vault(meanwhile=importing("mount.fleet.testing"))
    from mount.fleet.testing import run_tests

    with open_fleet(session, vault, on) as opened:
        code = run_tests(session, vault, opened, request, every_item, as_json=as_json)
    if code:
        raise typer.Exit(code)


@fleet.command("restore")
def restore(
    ctx: typer.Context,
    places: Annotated[
        list[str], typer.Argument(metavar="POINT[:PATH]…", help="a recovery point, or a path in one")
    ],
    *,
    to: Annotated[
        str, typer.Option("--to", metavar="DIR", help="the folder to restore into, at the same path on all workers")
    ],
    on: On,
    on_conflict: OnConflict = None,
    no_permissions: NoPermissions = False,
    owner_by: Annotated[
        str, typer.Option(metavar="id|name", help="set owners by number, or by name if a worker knows the name")
    ] = "id",
    trust_modes: TrustModes = False,
    include: RestoreInclude = None,
    exclude: RestoreExclude = None,
    verify: RestoreVerify = False,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """As `rpdrive restore --to DIR`: each worker restores a part of the tree into a folder that all of them see."""
    session: Session = ctx.obj
    from mount.fleet.opening import check_on

    check_on(on)
    from mount.restore.job import Job

    job = Job(
        session,
        places,
        to=to,
        in_place=False,
        on_conflict=on_conflict,
        permissions=not no_permissions,
        owner_by=owner_by,
        trust_modes=trust_modes,
        include=include or [],
        exclude=exclude or [],
        verify=verify,
    )
    vault = session.open_vault(meanwhile=importing("mount.restore.run"), reading=True)
    from mount.fleet.restore import run_and_show

    if not run_and_show(session, vault, job, on, machine, item, as_json=as_json):
        raise typer.Exit(WITH_PROBLEMS)
