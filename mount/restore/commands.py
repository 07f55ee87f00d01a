"""The command line of `rpdrive restore`; job.py and show.py do the work."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.errors import WITH_PROBLEMS
from catalog.screen.options import ItemName, Json, Limit, LimitDown, LimitUp, MachineName, importing

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
    on_conflict: Annotated[
        str,
        typer.Option(
            metavar="copy|overwrite|skip|newer", help="what to do if something else exists where a file belongs"
        ),
    ] = "copy",
    no_permissions: Annotated[
        bool, typer.Option("--no-permissions", help="do not restore owners, permissions and ACLs")
    ] = False,
    owner_by: Annotated[
        str, typer.Option(metavar="id|name", help="set owners by number, or by name if this system knows the name")
    ] = "id",
    trust_modes: Annotated[
        bool,
        typer.Option(
            "--trust-modes",
            help="restore set-user-id bits, capabilities and devices of another machine's point, too",
        ),
    ] = False,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="restore only what matches, as in .gitignore; may be repeated"),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="leave out what matches, as in .gitignore; may be repeated"),
    ] = None,
    ignore_case: Annotated[
        bool | None,
        typer.Option("--ignore-case/--match-case", help="case in patterns (default: ignored on Windows and macOS)"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="show what would be done, write nothing")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="compare existing files by content, and read back what was written"),
    ] = False,
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
    from mount.restore.job import Job

    session: Session = ctx.obj
    job = Job(
        session,
        places,
        to=to,
        in_place=in_place,
        on_conflict=on_conflict,
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
    from catalog.throttle.given import Given
    from catalog.throttle.limiting import limit_traffic

    limit_traffic(session, Given(limit, limit_up, limit_down))
    vault = session.open_vault(meanwhile=importing("mount.restore.run"))
    from mount.restore.show import run_and_show

    if not run_and_show(job, vault, machine, item, as_json=as_json):
        raise typer.Exit(WITH_PROBLEMS)
