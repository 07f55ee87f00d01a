"""The command that makes recovery points. It parses, calls and prints; imports that cost are inside it."""

from __future__ import annotations

import json
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catalog.access.session import Session
from catalog.errors import WITH_PROBLEMS
from catalog.store.roles import Role

if TYPE_CHECKING:
    from backup.job import Job
    from backup.run import Result

app = typer.Typer(rich_markup_mode=None)


@app.command("backup")
def backup(
    ctx: typer.Context,
    # Typer would ask for `readable`; but what can't be read is a problem of the backup, not of the command line.
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", readable=False, help="files and folders to save")],
    item: Annotated[
        str | None, typer.Option(metavar="NAME", help="the item's name; else made of the paths")
    ] = None,
    machine: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="this machine's name at its first backup, or one to take over"),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="leave out, as in .gitignore; may be repeated")
    ] = None,
    one_file_system: Annotated[
        bool, typer.Option("--one-file-system", "-x", help="don't go into other file systems")
    ] = False,
    cloud_files: Annotated[
        bool, typer.Option("--cloud-files", help="on Windows: download and save files that only a cloud has, too")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="only say what is new or changed")] = False,
    cache_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="limit of the cache on disk, such as 500M or 20G")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Save files and folders as a new recovery point."""
    session: Session = ctx.obj
    if not dry_run:
        session.require(Role.BACKUP)
    vault = session.open_vault(meanwhile=lambda store: import_module("backup.job"))
    from backup.display import summary
    from backup.job import Job
    from catalog.screen.stderr import Screen
    from catalog.screen.text import parse_size

    with ExitStack() as stack:
        job = stack.enter_context(
            Job(
                session,
                vault,
                paths,
                item=item,
                machine=machine,
                excludes=exclude or [],
                one_file_system=one_file_system,
                fetch=cloud_files,
                cache_size=None if cache_size is None else parse_size(cache_size),
                dry=dry_run,
            )
        )
        result = job.run(None if as_json else stack.enter_context(Screen()))
    if as_json:
        print(json.dumps(_row(result, job, session), indent=2))
    else:
        for line in summary(result, job.item.name, job.id):
            print(line)
    if result.problem_count:
        raise typer.Exit(WITH_PROBLEMS)


def _row(result: Result, job: Job, session: Session) -> dict[str, object]:
    from catalog.screen.text import iso_time, text_json

    point, p = result.point, result.progress
    traffic = session.meter.snapshot() if session.meter else None
    return {
        "point": point.id.hex() if point else None,
        "job": job.id,
        "time": iso_time(point.time) if point else None,
        "sequence": point.sequence if point else None,
        "previous": point.previous.hex() if point and point.previous else None,
        "machine": job.machine.name,
        "item": job.item.name,
        "files": result.totals.files,
        "entries": result.totals.entries,
        "bytes": result.totals.bytes,
        "new": p.new,
        "changed": p.changed,
        "unchanged": p.unchanged,
        "removed": p.removed,
        "read_bytes": p.read_bytes,
        "new_bytes": p.sent.new_bytes,
        "data_bytes": p.sent.data_bytes,
        "tree_bytes": p.sent.tree_bytes,
        "record_bytes": result.record_bytes,
        "requests": traffic.requests if traffic else None,
        "seconds": round(result.seconds, 3),
        "problem_count": result.problem_count,
        "problems": [{**text_json("path", q.path), "reason": q.reason} for q in result.problems],
    }
