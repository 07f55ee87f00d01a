"""Commands about what a vault holds. They parse, call and print; imports that cost are inside them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalog.access.session import Session
from catalog.screen.options import ItemName, Json, MachineName, print_json

if TYPE_CHECKING:
    from catalog.points.choice import Place
    from catalog.tree import PageSource

app = typer.Typer(rich_markup_mode=None)


def _import_all(_store: object) -> None:
    """What the commands below need."""
    import catalog.direct
    import catalog.points.choice
    import catalog.points.listing
    import catalog.points.seen  # noqa: F401


# --- points -------------------------------------------------------------------------------------------------


@app.command("points")
def points(
    ctx: typer.Context,
    machine: MachineName = None,
    item: ItemName = None,
    every: Annotated[bool, typer.Option("--all", help="of forgotten machines too")] = False,
    as_json: Json = False,
) -> None:
    """List recovery points, the newest last."""
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=_import_all)

    from catalog.points.choice import point_names, read_points
    from catalog.points.listing import POINT_COLUMNS, point_json, point_rows
    from catalog.points.seen import Seen
    from catalog.screen.text import safe_text, table

    names = point_names(vault, machine, item)
    vanished = [str(gap) for gap in Seen(session.settings.state, vault.id).check(names)]
    machines = vault.machines() if names else {}
    forgotten = 0
    if machine is None and item is None and not every:
        shown = [n for n in names if not (n.machine in machines and machines[n.machine].forgotten)]
        forgotten, names = len(names) - len(shown), shown
    found, damaged = read_points(vault, names)
    if as_json:
        rows = [point_json(p, machines) for p in found]
        print_json({"vault": session.address, "points": rows, "warnings": vanished})
    elif found:
        lines = [[safe_text(text) for text in row] for row in point_rows(found, machines)]
        print(table(POINT_COLUMNS, lines))
    elif forgotten:
        print("There are only recovery points of forgotten machines; --all shows them")
    elif not damaged:
        print("There are no recovery points here yet; make one with `rpdrive backup PATH`")
    for warning in vanished if not as_json else ():
        print(f"warning: {warning}", file=sys.stderr)
    if damaged:
        raise damaged[0]


@app.command("ls")
def ls(
    ctx: typer.Context,
    *,
    place: Annotated[
        str,
        typer.Argument(
            metavar="POINT[:PATH]", help="a point: id, start of one, time, or `latest`; and a path in it"
        ),
    ],
    long: Annotated[
        bool, typer.Option("-l", "--long", help="like `ls -l`; folders with all that is in them")
    ] = False,
    machine: MachineName = None,
    item: ItemName = None,
    as_json: Json = False,
) -> None:
    """List a folder of a recovery point.

    For example: `latest:home`, `5f3a9c01`, `2026-11-17:/etc` (the last point of that day),
    `2026-11-17 08:30:/usr/share` (the last at or before that minute, local time).
    """
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=_import_all)

    from catalog.direct import DirectSource
    from catalog.points.choice import choose, find, split_place
    from catalog.points.listing import point_json

    spec, path = split_place(place)
    point = vault.point(choose(vault, spec, machine, item))
    source = DirectSource(vault)
    found = find(source, point.root.subtree() if point.root else None, path)
    if as_json:
        _ls_json(source, point_json(point, vault.machines()), found)
    else:
        _ls_text(source, found, long)


def _ls_text(source: PageSource, place: Place, long: bool) -> None:
    from catalog.points.choice import entries
    from catalog.points.listing import long_line
    from catalog.screen.text import safe_text

    on_terminal = sys.stdout.isatty()
    for leaf, entry in entries(source, place):
        # Bytes that are no text go out as they are.
        name = entry.name.decode(errors="surrogateescape")
        if long and entry.kind == 2:
            name += " -> " + entry.content.decode(errors="surrogateescape")
        name = safe_text(name) if on_terminal else name
        print(long_line(leaf, entry, name) if long else name)


def _ls_json(source: PageSource, point: dict[str, Any], place: Place) -> None:
    """Entry by entry: a folder may have millions."""
    from catalog.points.choice import entries
    from catalog.points.listing import entry_json
    from catalog.screen.text import text_json

    head = json.dumps({"point": point, **text_json("path", place.path or b"/")}, indent=2)
    print(head.removesuffix("\n}") + ',\n  "entries": [', end="")
    for n, (leaf, entry) in enumerate(entries(source, place)):
        print(",\n    " if n else "\n    ", json.dumps(entry_json(leaf, entry)), sep="", end="")
    print("\n  ]\n}")
