"""The command that restores. It parses, calls and prints; imports that cost are inside it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.errors import WITH_PROBLEMS

app = typer.Typer(rich_markup_mode=None)


@app.command("restore")
def restore(
    ctx: typer.Context,
    places: Annotated[
        list[str],
        typer.Argument(metavar="POINT[:PATH]…", help="a point, a path in one, or a path in an open drive"),
    ],
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="the folder to restore into")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="put things back where they were")] = False,
    on_conflict: Annotated[
        str, typer.Option(metavar="copy|overwrite|skip|newer", help="what to do where something is already")
    ] = "copy",
    no_permissions: Annotated[
        bool, typer.Option("--no-permissions", help="leave owners, permissions and ACLs out")
    ] = False,
    owner_by: Annotated[
        str, typer.Option(metavar="id|name", help="owners by number, or by name where it is known here")
    ] = "id",
    include: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="only what matches, as in .gitignore; repeatable")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="leave out, as in .gitignore; repeatable")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="only say what would be done")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="compare contents of what is there, and read back what was written")
    ] = False,
    machine: Annotated[str | None, typer.Option(metavar="MACHINE", help="a name or id")] = None,
    item: Annotated[str | None, typer.Option(metavar="ITEM", help="a name or id")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Copy files, folders or a whole recovery point back to a disk.

    For example: `rpdrive restore latest:/etc/hosts --to /tmp/x` makes /tmp/x/hosts, and
    `rpdrive restore 2026-11-17:/srv/www --in-place --on-conflict overwrite` puts /srv/www back.
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
        include=include or [],
        exclude=exclude or [],
        dry_run=dry_run,
        verify=verify,
    )
    vault = session.open_vault(meanwhile=lambda store: import_module("mount.restore.run"))
    from contextlib import nullcontext

    from catalog.screen.stderr import Screen
    from mount.restore.display import dry_lines, report_json, summary

    with nullcontext() if as_json else Screen() as screen:
        report = job.run(vault, machine, item, screen)
    if as_json:
        import json

        print(json.dumps(report_json(report, job.record, dry=dry_run), indent=2))
    else:
        for line in dry_lines(report, job.record) if dry_run else summary(report, job.record):
            print(line)
    if report.problem_count:
        raise typer.Exit(WITH_PROBLEMS)
