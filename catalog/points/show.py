"""Runs `rpdrive points` and `rpdrive ls` on an open vault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from catalog.access.session import Session
from catalog.direct import DirectSource
from catalog.format.records import Machine, Point, PointName
from catalog.format.values import NodeKind
from catalog.points.choice import Place, entries, find, split_place
from catalog.points.elsewhere import behind
from catalog.points.health import Health, damage_cell, damage_lines, health_json
from catalog.points.listing import (
    DAMAGED,
    KIND,
    POINT_COLUMNS,
    entry_json,
    kind_cell,
    long_line,
    point_json,
    point_rows,
)
from catalog.points.opening import listed_points, open_point, read_points
from catalog.points.removed import Removed
from catalog.points.seen import Seen
from catalog.screen.output import for_stdout, print_json, print_rows, print_table, say
from catalog.screen.stderr import warn
from catalog.screen.text import text_json
from catalog.tree import PageSource
from catalog.vault import Vault


def show_points(
    session: Session,
    vault: Vault,
    machine: str | None,
    item: str | None,
    *,
    every: bool,
    why: bool = False,
    as_json: bool,
) -> None:
    """Print the points of a machine, an item or all; `every` includes those of forgotten machines.

    `why` prints for each why it is kept, and until when, by the policies: one more listing, and one request for
    each level that has one.

    Points that can't be read are named in warnings (with `as_json`, in `damaged`), after the others are printed;
    then the error of the first is raised.
    """
    listed = listed_points(vault, machine, item)
    names = listed.visible()
    machines = vault.machines() if names else {}
    forgotten = 0
    if machine is None and item is None and not every:
        shown = [n for n in names if not (n.machine in machines and machines[n.machine].forgotten)]
        forgotten, names = len(names) - len(shown), shown
    with ThreadPoolExecutor(1, "checks") as pool:
        checks = pool.submit(Health.of, vault, {name.machine for name in names}, machines) if names else None
        found, damaged = read_points(vault, names)
        health = Health([], {}) if checks is None else checks.result()
    seen = Seen(session.settings.state_to_read, vault)
    removed = Removed(listed, machines)
    of_items = {(n.machine, n.item) for n in names}
    among = [n for n in listed.stored if (n.machine, n.item) in of_items]
    gaps = seen.check(among, map(PointName.of, found))
    if session.also is not None and session.also.is_away:
        gaps = []  # this is another place of the vault, which may be behind
    vanished = [str(gap) for gap in removed.unexplained(gaps)]
    reasons = None
    if why:
        from catalog.points.why import Reasons  # loads time zones

        reasons = Reasons(vault, found, listed, health)
        damaged += vault.passed_over.lost("policies/")
    late = behind(session, vault, listed.stored)
    if as_json:
        rows = [point_json(p, machines) | health_json(p, listed.stored[PointName.of(p)], health) for p in found]
        if reasons is not None:
            rows = [row | more for row, more in zip(rows, reasons.json(), strict=True)]
        passed = vault.passed_over.json()
        print_json({
            "vault": session.address, "points": rows, "removed": removed.json(of_items), "warnings": vanished,
            "behind": None if late is None else late.json(), "damaged": passed,
        })  # fmt: skip
    elif found and reasons is not None:
        print_table(reasons.columns, reasons.rows(machines))
        for line in [*reasons.still(), *removed.lines(found), *damage_lines(found, health)]:
            say(line)
    elif found:
        _print_points(found, machines, health)
        for line in [*removed.lines(found), *damage_lines(found, health)]:
            say(line)
    elif forgotten:
        say("There are only recovery points of forgotten machines; --all shows them")
    elif listed.stored and not damaged:
        say("All recovery points here were forgotten; `rpdrive points --deleted` shows those that are still there")
    elif not damaged:
        say("There are no recovery points here yet; make one with `rpdrive backup PATH`")
    if late is not None and not as_json:
        say(f"Note: {late}")
    for warning in vanished if not as_json else ():
        warn(warning, prefix="warning")
    if damaged:
        raise damaged[0]


def _print_points(points: Sequence[Point], machines: Mapping[bytes, Machine], health: Health) -> None:
    columns: tuple[str, ...] = POINT_COLUMNS
    rows = point_rows(points, machines)
    kinds = [kind_cell(point) for point in points]
    if any(kinds):
        columns = (*columns[:4], KIND, *columns[4:])
        rows = [[*row[:4], cell, *row[4:]] for row, cell in zip(rows, kinds, strict=True)]
    damage = [damage_cell(health.damaged(point)) for point in points]
    if any(damage):
        columns, rows = (*columns, DAMAGED), [[*row, cell] for row, cell in zip(rows, damage, strict=True)]
    print_table(columns, rows)


def show_folder(
    vault: Vault, text: str, machine: str | None, item: str | None, *, long: bool, as_json: bool
) -> None:
    """Print what is at POINT[:PATH]: the entries of a folder, or one entry.

    Raises NotFound, AmbiguousName and Damaged.
    """
    spec, path = split_place(text)
    point = open_point(vault, listed_points(vault, machine, item), spec)
    source = DirectSource(vault)
    place = find(source, point.root.subtree() if point.root else None, path)
    if not as_json:
        _print_entries(source, place, long)
        return
    head = {"point": point_json(point, vault.machines()), **text_json("path", place.path or b"/")}
    print_rows(head, "entries", (entry_json(leaf, entry) for leaf, entry in entries(source, place)))


def _print_entries(source: PageSource, place: Place, long: bool) -> None:
    clean = for_stdout()
    for leaf, entry in entries(source, place):
        name = entry.name.decode(errors="surrogateescape")
        if long and entry.kind == NodeKind.SYMLINK:
            name += " -> " + entry.content.decode(errors="surrogateescape")
        print(long_line(leaf, entry, clean(name)) if long else clean(name))
