"""The command lines of `rpdrive find`, `rpdrive versions` and `rpdrive diff`; show.py does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from catalog.access.session import Session
from catalog.errors import UsageError
from catalog.screen.options import ItemName, Json, MachineName, importing

app = typer.Typer(rich_markup_mode=None)


@app.command("find")
def find(
    ctx: typer.Context,
    *,
    text: Annotated[
        str, typer.Argument(metavar="PATTERN", help="a name or a glob; with --regex a regular expression")
    ],
    all_points: Annotated[
        bool, typer.Option("--all-points", "-a", help="search all recovery points, not just one")
    ] = False,
    point: Annotated[
        str | None,
        typer.Option(metavar="POINT", help="the recovery point to search: an id or a time; default: `latest`"),
    ] = None,
    regex: Annotated[
        bool, typer.Option("--regex", help="PATTERN is a regular expression, searched for in the whole path")
    ] = False,
    ignore_case: Annotated[bool, typer.Option("--ignore-case", "-i", help="ignore case")] = False,
    newest: Annotated[
        int | None,
        typer.Option("--newest", metavar="N", min=1, help="look at the newest N points of each item only"),
    ] = None,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """Find files by name, in one recovery point or in all.

    For example: `letter.odt`, `'*.odt'` (in quotes), `'/home/*/letters/*'`. A pattern with a slash is matched
    against the path, a pattern without a slash against the name. `--all-points` shows each path once, with the size
    and time it has in the newest point that contains it.
    """
    if all_points and point is not None:
        raise UsageError("--all-points and --point exclude each other", "use one of them")
    if newest is not None and not all_points:
        raise UsageError("--newest is about several recovery points", "add --all-points")
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.history.show"), reading=True)
    from catalog.history.show import show_found

    place = None if all_points else point or "latest"
    show_found(
        vault, text, place, machine, item, regex=regex, ignore_case=ignore_case, newest=newest, as_json=as_json
    )


@app.command("versions")
def versions(
    ctx: typer.Context,
    *,
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="path of a file or folder on the machine that was backed up")
    ],
    newest: Annotated[
        int | None,
        typer.Option("--newest", metavar="N", min=1, help="look at the newest N points of each item only"),
    ] = None,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """List the different contents of a file in all recovery points, the newest last.

    For a folder, lists its different states. No file content is read.
    """
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.history.show"), reading=True)
    from catalog.history.show import show_versions

    show_versions(vault, path, machine, item, newest=newest, as_json=as_json)


@app.command("diff")
def diff(
    ctx: typer.Context,
    *,
    before: Annotated[str, typer.Argument(metavar="POINT", help="an id or its start, a time, or `latest`")],
    after: Annotated[str, typer.Argument(metavar="POINT", help="the point to compare with, usually the later one")],
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="compare only this file or folder")] = "",
    content_only: Annotated[
        bool, typer.Option("--content-only", help="omit files that differ only in metadata")
    ] = False,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """Show the differences between two recovery points: + added, - removed, M changed, U metadata only, T type.

    The points may belong to different items or machines. Equal parts are skipped unread, and no file content is
    read. The exit code is 0 whether there are differences or not.
    """
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.history.show"), reading=True)
    from catalog.history.show import show_differences

    show_differences(vault, before, after, path, machine, item, content_only=content_only, as_json=as_json)
