"""Runs `rpdrive points` and `rpdrive ls` on an open vault."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from catalog.access.session import Session
from catalog.direct import DirectSource
from catalog.format.records import Machine, Point, PointName
from catalog.format.sealed import Kind
from catalog.format.values import NodeKind
from catalog.ledger.listed import Key, Listed
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
from catalog.points.opening import listed_points, open_point
from catalog.points.removed import Removed
from catalog.points.seen import Gap, Seen
from catalog.points.shown import LAST, Shown, Span
from catalog.screen.output import for_stdout, print_json, print_rows, print_table, say
from catalog.screen.stderr import warn
from catalog.screen.text import counted, text_json
from catalog.tree import PageSource
from catalog.vault import Vault

if TYPE_CHECKING:
    from catalog.points.why import Reasons


_ITEMS = 10  # of which all names are in memory


class Wanted(NamedTuple):
    """Which points are listed: the `last` so many (0: all; None: LAST, and all with --json) of a span of times.

    `since` and `until` are as `Span.parsed` takes them. `every` includes those of forgotten machines. `why` says
    for each why it is kept, and until when.
    """

    last: int | None = None
    since: str | None = None
    until: str | None = None
    every: bool = False
    why: bool = False


def show_points(
    session: Session, vault: Vault, machine: str | None, item: str | None, wanted: Wanted, *, as_json: bool
) -> None:
    """Print the points of a machine, an item or all: with `as_json` one after the other, as they are read.

    Costs 3 listings, and one request for each record that is shown or of a machine or an item that is. `why` costs
    one listing more, and one request for each level that has a policy.

    Points that can't be read are named in warnings (with `as_json`, in `damaged`), after the others are printed;
    then the error of the first is raised.
    """
    listed = listed_points(vault, machine, item)
    every = wanted.every or machine is not None or item is not None
    shown = Shown(vault, listed, Span.parsed(wanted.since, wanted.until), every=every)
    report = _Report(session, vault, listed, shown)
    last = wanted.last if wanted.last is not None else 0 if as_json else LAST
    if as_json and not last and not wanted.why:
        report.print_all()
    elif as_json:
        report.print_json(report.read(last), why=wanted.why)
    else:
        report.print_text(report.read(last), why=wanted.why)
    if shown.errors:
        raise shown.errors[0]


class _Report:
    """Points, and what is known of their machines and items."""

    def __init__(self, session: Session, vault: Vault, listed: Listed, shown: Shown) -> None:
        self._session, self._vault, self._listed, self._shown = session, vault, listed, shown
        self._health = Health([], {})
        self._opened: dict[Key, PointName] = {}  # of each item, the point with the highest number that opened
        self._removed = Removed(listed, shown.machines)

    def read(self, last: int) -> list[Point]:
        """The points to show. The records of checks are read at the same time, where all points are shown."""
        shown = self._shown
        if not last or shown.count <= last:
            with ThreadPoolExecutor(1, "checks") as pool:
                checks = pool.submit(self._look_at_checks, shown.machines_of_all() if shown.count else ())
                found = shown.last(shown.count)
                checks.result()
        else:
            found = shown.last(last)
            self._look_at_checks({p.machine for p in found})
        for point in found:
            self._note(point)
        return found

    def _note(self, point: Point) -> None:
        key, name = (point.machine, point.item), PointName.of(point)
        if key not in self._opened or self._opened[key].sequence < name.sequence:
            self._opened[key] = name

    def _look_at_checks(self, machines: Collection[bytes]) -> None:
        if machines:
            self._health = Health.of(self._vault, machines, self._shown.know(machines))

    def print_all(self) -> None:
        """Print all points as JSON: no more of their records than are read at once are in memory."""
        self._look_at_checks(self._shown.machines_of_all())

        def rows() -> Iterator[dict[str, Any]]:
            for point in self._shown.each():
                self._note(point)
                yield self._json(point)

        print_rows({"vault": self._session.address}, "points", rows(), self._rest_json)

    def print_json(self, found: Sequence[Point], *, why: bool) -> None:
        rows = [self._json(point) for point in found]
        if why:
            rows = [row | more for row, more in zip(rows, self._reasons(found).json(), strict=True)]
        print_json({"vault": self._session.address, "points": rows, **self._rest_json()})

    def _json(self, point: Point) -> dict[str, Any]:
        stored = self._listed.stored[PointName.of(point)]
        return point_json(point, self._shown.machines) | health_json(point, stored, self._health)

    def _rest_json(self) -> dict[str, Any]:
        late = behind(self._session, self._vault, self._listed.stored)
        return {
            "removed": self._removed.json(self._shown.items), "warnings": self._vanished(),
            "behind": None if late is None else late.json(), "damaged": self._vault.passed_over.json(),
        }  # fmt: skip

    def print_text(self, found: Sequence[Point], *, why: bool) -> None:
        shown, health = self._shown, self._health
        left, is_exact = shown.left()
        if found and why:
            reasons = self._reasons(found, [n for key in sorted(shown.items) for n in shown.older(key)])
            print_table(reasons.columns, reasons.rows(shown.machines))
            for line in reasons.still():
                say(line)
        elif found:
            _print_points(found, shown.machines, health)
        if found:
            if left:
                most = "" if is_exact else "up to "
                say(f"{most}{counted(left, 'older point')} not listed: `--last N` lists more, `--last 0` all")
            for line in [*self._removed.lines(found), *damage_lines(found, health)]:
                say(line)
        elif not shown.errors:
            self._say_why_none()
        late = behind(self._session, self._vault, self._listed.stored)
        if late is not None:
            say(f"Note: {late}")
        for warning in self._vanished():
            warn(warning, prefix="warning")

    def _say_why_none(self) -> None:
        if self._shown.forgotten:
            say("There are only recovery points of forgotten machines; --all shows them")
        elif self._shown.count:
            say("All recovery points here were forgotten; `rpdrive points --deleted` shows what is still there")
        elif self._listed.stored:
            say("There are no recovery points of that time here")
        else:
            say("There are no recovery points here yet; make one with `rpdrive backup PATH`")

    def _reasons(self, found: Sequence[Point], others: Iterable[PointName] = ()) -> Reasons:
        from catalog.points.why import Reasons  # loads time zones

        made = Reasons(self._vault, found, self._listed, self._health, others)
        self._shown.errors += self._vault.passed_over.lost("policies/")
        return made

    def _vanished(self) -> list[str]:
        """The points that vanished from the items that are shown, as far as no ledger says why."""
        seen, gaps = Seen(self._session.settings.state_to_read, self._vault), list[Gap]()
        items = sorted(self._shown.items)
        for start in range(0, len(items), _ITEMS):  # their names are in memory
            among = {key: self._listed.stored.of(key) for key in items[start : start + _ITEMS]}
            gaps += seen.check((name for names in among.values() for name in names), self._proven(among))
        if self._session.also is not None and self._session.also.is_away:
            return []  # this is another place of the vault, which may be behind
        return [str(gap) for gap in self._removed.unexplained(gaps)]

    def _proven(self, among: Mapping[Key, Sequence[PointName]]) -> list[PointName]:
        """Points that open: those that were read, and others that say when a copy was promoted."""
        found, more = list[PointName](), list[PointName]()
        for key, names in among.items():
            if key in self._opened:
                found.append(self._opened[key])
            edges = self._vault.jumps.edges(key, (name.sequence for name in names))
            more += [name for name in names if name.sequence in edges]
        records = self._vault.read_each(Kind.POINT, Point, more)
        return [*found, *(n for n, record in zip(more, records, strict=True) if isinstance(record, Point))]


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
