"""The command line of `rpdrive restore`; job.py and show.py do the work."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from catalog.access.session import Session
from catalog.errors import WITH_PROBLEMS, UsageError
from catalog.screen.options import (
    ItemName,
    Json,
    Limit,
    LimitDown,
    LimitUp,
    MachineName,
    NoPermissions,
    OnConflict,
    RestoreExclude,
    RestoreInclude,
    RestoreVerify,
    TrustModes,
    importing,
)

if TYPE_CHECKING:
    from catalog.throttle.given import Given

app = typer.Typer(rich_markup_mode=None)


@app.command("restore")
def restore(
    ctx: typer.Context,
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="POINT[:PATH]…", help="a recovery point, a path in one, or a path in a mounted drive"
        ),
    ],
    to: Annotated[str | None, typer.Option("--to", metavar="DIR", help="the folder to restore into")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="restore to the original paths")] = False,
    to_device: Annotated[
        str | None,
        typer.Option("--to-device", metavar="DEVICE", help="write an image over a device, e.g. /dev/sdb"),
    ] = None,
    discard: Annotated[
        bool, typer.Option("--discard", help="with --to-device: let the device give back the space of zeros")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", help="with --to-device: overwrite without asking; with --exact: remove without asking"
        ),
    ] = False,
    on_conflict: OnConflict = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="roll a volume back: at the end, remove what the point has not"),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="restore a volume though its place does not suit it, e.g. lacks room")
    ] = False,
    no_permissions: NoPermissions = False,
    owner_by: Annotated[
        str, typer.Option(metavar="id|name", help="set owners by number, or by name if this system knows the name")
    ] = "id",
    trust_modes: TrustModes = False,
    include: RestoreInclude = None,
    exclude: RestoreExclude = None,
    ignore_case: Annotated[
        bool | None,
        typer.Option("--ignore-case/--match-case", help="case in patterns (default: ignored on Windows and macOS)"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="show what would be done, write nothing")
    ] = False,
    verify: RestoreVerify = False,
    domain_controller: Annotated[
        bool,
        typer.Option("--domain-controller", help="a Windows system state: print a domain controller's steps"),
    ] = False,
    limit: Limit = None,
    limit_up: LimitUp = None,
    limit_down: LimitDown = None,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """Restore files, folders or a whole recovery point to a disk.

    For example: `rpdrive restore latest:/etc/hosts --to /tmp/x` makes /tmp/x/hosts, and
    `rpdrive restore 2026-11-17:/srv/www --in-place --on-conflict overwrite` restores /srv/www where it was.
    """
    from catalog.throttle.given import Given

    session: Session = ctx.obj
    if to_device is not None:
        if to is not None or in_place or include or exclude or exact:
            raise UsageError("--to-device takes a whole image", "leave out --to, --in-place, --exact and patterns")
        if not _to_device(
            session, places, to_device, machine, item, Given(limit, limit_up, limit_down),
            verify=verify, discard=discard, dry_run=dry_run, yes=yes, as_json=as_json,
        ):  # fmt: skip
            raise typer.Exit(WITH_PROBLEMS)
        return
    if discard or (yes and not exact):
        raise UsageError("--discard and --yes belong to --to-device, and --yes to --exact", "leave them out")
    from mount.restore.job import Job

    job = Job(
        session,
        places,
        to=to,
        in_place=in_place,
        on_conflict=on_conflict,
        exact=exact,
        yes=yes,
        force=force,
        permissions=not no_permissions,
        owner_by=owner_by,
        trust_modes=trust_modes,
        include=include or [],
        exclude=exclude or [],
        ignore_case=ignore_case,
        dry_run=dry_run,
        verify=verify,
        controller=domain_controller,
    )
    from catalog.throttle.limiting import limit_traffic

    limit_traffic(session, Given(limit, limit_up, limit_down))
    vault = session.open_vault(meanwhile=importing("mount.restore.run"), reading=True)
    from mount.restore.show import run_and_show

    if not run_and_show(job, vault, machine, item, as_json=as_json):
        raise typer.Exit(WITH_PROBLEMS)


def _to_device(
    session: Session,
    places: list[str],
    device: str,
    machine: str | None,
    item: str | None,
    given: Given,
    *,
    verify: bool,
    discard: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> bool:
    if os.name == "nt":
        raise UsageError("--to-device is not for Windows", "use --to, or restore from a Linux rescue system")
    from mount.restore.device.show import prepared, run_and_show

    job = prepared(session, places, device, verify=verify, discard=discard, dry_run=dry_run, yes=yes)
    from catalog.throttle.limiting import limit_traffic

    limit_traffic(session, given)
    vault = session.open_vault(meanwhile=importing("cache.reader"), reading=True)
    return run_and_show(job, vault, machine, item, as_json=as_json)
