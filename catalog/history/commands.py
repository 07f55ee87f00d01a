"""Commands about the history of files. They parse, call and print; imports that cost are inside them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from catalog.access.session import Session
from catalog.screen.options import ItemName, Json, MachineName, print_rows

if TYPE_CHECKING:
    from catalog.history.timeline import Timelines

app = typer.Typer(rich_markup_mode=None)


def _import_all(_store: object) -> None:
    """What the commands below need."""
    import catalog.direct
    import catalog.history.difference
    import catalog.history.listing
    import catalog.history.search  # noqa: F401


@app.command("find")
def find(
    ctx: typer.Context,
    *,
    text: Annotated[str, typer.Argument(metavar="PATTERN", help="a name, a glob, or with --regex an expression")],
    all_points: Annotated[
        bool, typer.Option("--all-points", "-a", help="look in every recovery point, not just in one")
    ] = False,
    point: Annotated[
        str | None, typer.Option(metavar="POINT", help="look in this one: an id, a time; else `latest`")
    ] = None,
    regex: Annotated[
        bool, typer.Option("--regex", help="PATTERN is a regular expression, looked for in the whole path")
    ] = False,
    ignore_case: Annotated[bool, typer.Option("--ignore-case", "-i", help="A and a are the same")] = False,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """Find files by name, in one recovery point or in all.

    For example: `letter.odt`, `'*.odt'` (in quotes), `'/home/*/letters/*'`. A pattern with a slash is compared
    with the path, one without with the name. `--all-points` shows each path once, with size and time as in the
    newest point that has it.
    """
    session: Session = ctx.obj
    from catalog.errors import UsageError

    if all_points and point is not None:
        raise UsageError("--all-points and --point exclude each other")
    vault = session.open_vault(meanwhile=_import_all)

    from catalog.direct import DirectSource
    from catalog.history.listing import HIT_COLUMNS, hit_json, hit_line
    from catalog.history.search import pattern, search
    from catalog.history.timeline import all_timelines, one_point

    fits = pattern(text, regex=regex, ignore_case=ignore_case)
    if all_points:
        lines = all_timelines(vault, machine, item)
    else:
        lines = one_point(vault, point or "latest", machine, item)
    source = DirectSource(vault)
    hits = ((line, hit) for line in lines.found for hit in search(source, line.points, fits))
    if as_json:
        head = {"pattern": text, "points": sum(len(line.points) for line in lines.found)}
        print_rows(head, "found", (hit_json(line, hit) for line, hit in hits))
        lines.complain()
        return
    count, before = 0, None
    for line, hit in hits:
        if line is not before:
            _heading(lines, line.title)
            if not count and all_points:
                print(HIT_COLUMNS)
            before = line
        print(_safe(hit_line(line, hit, all_points=all_points)))
        count += 1
    if not count:
        where = f"{sum(len(line.points) for line in lines.found):,} recovery points" if all_points else "that point"
        print(f"nothing in {where} fits {text!r}", file=sys.stderr)
    lines.complain()


@app.command("versions")
def versions(
    ctx: typer.Context,
    *,
    path: Annotated[str, typer.Argument(metavar="PATH", help="of a file or folder, as it was on its machine")],
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """List the different contents that a file had over all recovery points, the newest last.

    Of a folder, its states. Nothing of the contents is read.
    """
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=_import_all)

    import os

    from catalog.direct import DirectSource
    from catalog.errors import NotFound, UsageError
    from catalog.history.listing import VERSION_COLUMNS, version_rows, versions_json
    from catalog.history.overlay import parts
    from catalog.history.timeline import all_timelines
    from catalog.history.versions import versions as versions_of
    from catalog.points.choice import shown
    from catalog.screen.text import table, text_json

    raw = os.fsencode(path)
    if not parts(raw):
        raise UsageError("every recovery point has a root", "name a file or folder below it")
    lines = all_timelines(vault, machine, item)
    source = DirectSource(vault)
    found = [(line, versions_of(source, line.points, raw)) for line in lines.found]
    found = [(line, history) for line, history in found if history.found]
    if not found:
        lines.complain()
        count = sum(len(line.points) for line in lines.found)
        raise NotFound(
            f"none of {count:,} recovery points has {shown(raw)}", "`rpdrive find --all-points NAME` finds names"
        )
    if as_json:
        rows = [versions_json(line, history) for line, history in found]
        print(json.dumps({**text_json("path", raw), "items": rows}, indent=2))
    else:
        for line, history in found:
            _heading(lines, line.title)
            print(table(VERSION_COLUMNS, [[_safe(text) for text in row] for row in version_rows(line, history)]))
    lines.complain()


@app.command("diff")
def diff(
    ctx: typer.Context,
    *,
    before: Annotated[str, typer.Argument(metavar="POINT", help="an id, start of one, time, or `latest`")],
    after: Annotated[str, typer.Argument(metavar="POINT", help="the same, most often the later one")],
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="only this file or folder")] = "",
    content_only: Annotated[
        bool, typer.Option("--content-only", help="leave out what differs in metadata only")
    ] = False,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """Show what differs between two recovery points: + added, - removed, M changed, U metadata only, T type.

    The points may be of different items or machines. What is equal is passed over unread, and no content is read.
    The exit code is 0 whether there are differences or not.
    """
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=_import_all)

    import os

    from catalog.direct import DirectSource
    from catalog.errors import NotFound
    from catalog.history.difference import difference, exists, root_of
    from catalog.history.listing import Counts, change_json, change_line
    from catalog.points.choice import choose_point, point_names, shown
    from catalog.points.listing import point_json
    from catalog.screen.text import text_json

    names = point_names(vault, machine, item)
    old, new = vault.points([choose_point(names, before), choose_point(names, after)])
    roots = root_of(old), root_of(new)
    source, raw, counts = DirectSource(vault), os.fsencode(path), Counts()
    if not exists(source, *roots, raw):
        raise NotFound(f"there is no {shown(raw)} in either recovery point", "see `rpdrive ls` of its folder")
    changes = (c for c in difference(source, *roots, raw) if c.mark != "U" or not content_only)
    if as_json:
        machines = vault.machines()
        head = {
            "before": point_json(old, machines),
            "after": point_json(new, machines),
            **text_json("path", raw or b"/"),
        }
        print_rows(head, "changes", (change_json(c) for c in counts.of(changes)), counts.json)
        return
    for change in counts.of(changes):
        print(_safe(change_line(change)))
    print(counts)


# --- output -------------------------------------------------------------------------------------------------


def _safe(text: str) -> str:
    """Bytes that are no text go out as they are, but not to a terminal."""
    from catalog.screen.text import safe_text

    return safe_text(text) if sys.stdout.isatty() else text


def _heading(lines: Timelines, title: str) -> None:
    if len(lines.found) > 1:
        print(_safe(f"{title}:"))
