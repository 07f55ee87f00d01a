"""Machines, their items, and the recovery points of these: by their names in a listing, and one by its record."""

from __future__ import annotations

import re
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from heapq import nsmallest
from typing import NamedTuple

import msgspec

from catalog.errors import RpdriveError, UsageError
from catalog.format.records import Item, ItemName, Machine, Point, PointName
from catalog.machines.registry import machine_names
from catalog.points.choice import newest_first
from catalog.points.health import Health
from catalog.points.opening import first_that_opens
from mount.browse.resources import days
from mount.browse.resources.folders import SAFE, neighbours
from mount.browse.resources.opened import Opened
from mount.browse.resources.wire import id_of, name_of, when
from mount.view.renewed import FRESH_SECONDS, Renewed

_CHECKED_FRESH = 60.0  # seconds for which what checks found is believed
_PROBLEMS = 100
MOST_MACHINES = 200  # whose points are listed together,
MOST_NAMES = 200_000  # and of how many points
_CURSOR = re.compile(r"(-?[0-9]{1,20})\.([0-9]{1,20})\.([0-9a-f]{32})")


class ItemInfo(msgspec.Struct, kw_only=True):
    """An item. `points` is how many recovery points it has; None if its machine was not looked at yet."""

    id: str
    name: str
    kind: str
    points: int | None


class MachineInfo(msgspec.Struct, kw_only=True):
    """A machine, and its items by name."""

    id: str
    name: str
    system: str
    forgotten: bool
    items: list[ItemInfo]


class Machines(msgspec.Struct, kw_only=True):
    machines: list[MachineInfo]


class PointRow(msgspec.Struct, kw_only=True):
    """A recovery point, as its name says."""

    id: str
    time: str | None
    machine: str
    item: str
    sequence: int


class PointList(msgspec.Struct, kw_only=True):
    """Some points, the newest first; `next` is the cursor of those after them, None at the end."""

    points: list[PointRow]
    next: str | None


class PointInfo(msgspec.Struct, kw_only=True):
    """A recovery point, as its record says. Sizes in bytes.

    `damaged` is the number of files that it can't give back, as far as checks found; None if that is not known.
    """

    id: str
    time: str | None
    finished: str | None
    machine: str
    machine_name: str
    item: str
    item_name: str
    kind: str
    system: str
    sequence: int
    files: int
    entries: int
    bytes: int
    new_bytes: int
    stored_bytes: int
    warnings: int
    paths: list[str]
    problems: list[str]
    previous: str | None
    next: str | None
    forgotten_until: str | None
    damaged: int | None


class _Listed(NamedTuple):
    """The machines, and the ids of those that have points."""

    found: Machines
    stored: frozenset[bytes]


class _Known:
    """What is kept of a vault for a while: its machines, and what checks found of some."""

    def __init__(self, opened: Opened) -> None:
        here = weakref.ref(opened)  # which has this as long as it lives
        self.machines = Renewed[_Listed](lambda last: _machines(here(), last), "the list of machines")
        self.records: dict[bytes, tuple[float, dict[bytes, Machine]]] = {}  # the one that was asked for last
        self.checked: dict[bytes, tuple[float, Health]] = {}


_known: weakref.WeakKeyDictionary[Opened, _Known] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def _known_of(opened: Opened) -> _Known:
    with _lock:
        found = _known.get(opened)
        if found is None:
            found = _known[opened] = _Known(opened)
        return found


# --- machines and items ---------------------------------------------------------------------------------------


def machines(opened: Opened) -> Machines:
    """All machines, and their items; a few seconds old at most. Points are not listed: there may be millions.

    4 listings; and a request for each record not seen before. Raises StoreError, and NoVault if another
    vault is at the address by now.
    """
    found, stored = _known_of(opened).machines.get()
    opened.saw(stored)
    return found


def _machines(opened: Opened | None, last: _Listed | None) -> _Listed:
    assert opened is not None
    vault = opened.vault
    records = vault.machines()
    items = {(item.machine, item.id): item for item in vault.all_items()}
    keys = {(name.machine, name.id) for info in vault.store.list("items/") if (name := ItemName.parse(info.name))}
    stored = opened.stored()
    names = machine_names(records)
    owned: dict[bytes, set[bytes]] = {machine: set() for machine in (*records, *stored)}
    for machine, item in {*keys, *items}:
        owned.setdefault(machine, set()).add(item)
    found = []
    for machine in sorted(owned, key=lambda m: (names.get(m, "~"), m)):
        rows = [_item(opened, machine, item, items.get((machine, item))) for item in owned[machine]]
        if not rows and machine in stored:
            rows = [_item(opened, machine, item, None) for item in opened.listing(machine).items]
        record = records.get(machine)
        one = MachineInfo(
            id=machine.hex(), name=names.get(machine, machine.hex()), system="", forgotten=False, items=[]
        )
        if record is not None:
            one.system, one.forgotten = record.system, record.forgotten
        one.items = sorted(rows, key=lambda row: (row.name, row.id))
        found.append(one)
    now = _Listed(Machines(machines=found), frozenset(stored))
    return last if last == now else now


def _item(opened: Opened, machine: bytes, item: bytes, record: Item | None) -> ItemInfo:
    """An item by its record; if that does not open, by its newest point, for which its machine is listed."""
    name, kind = (record.name, record.kind) if record is not None else (item.hex(), "")
    listing = opened.view.known(machine) if record is not None else opened.listing(machine)
    points = listing.items.get(item, []) if listing is not None else []
    if record is None:
        newest = first_that_opens(opened.vault, newest_first(points))
        if isinstance(newest, Point):
            name, kind = newest.item_name, newest.kind
    return ItemInfo(id=item.hex(), name=name, kind=kind or "files", points=None if listing is None else len(points))


def names_of(opened: Opened, machine: str, item: str) -> list[PointName]:
    """The points of an item, of a machine (`item` empty), or all (both empty), a few seconds old at most.

    2 listings for each machine whose points were not listed just now; of all machines, 1 more. Raises NotFound if
    an id is none, UsageError for an item without its machine, or if all are too many, and StoreError.
    """
    if not machine:
        if item:
            raise UsageError("an item is named without its machine", "name the machine, too")
        names = list[PointName]()
        every = opened.machines()
        for one in every:
            if len(every) > MOST_MACHINES or len(names) > MOST_NAMES:
                raise UsageError(f"{len(every):,} machines have too many recovery points", "choose a machine")
            names += opened.listing(one).names
        return names
    listing = opened.listing(id_of(machine, "machine"))
    return listing.items.get(id_of(item, "item"), []) if item else listing.names


# --- points ---------------------------------------------------------------------------------------------------


def points(
    opened: Opened,
    machine: str = "",
    item: str = "",
    since: str = "",
    until: str = "",
    cursor: str = "",
    count: int = 100,
) -> PointList:
    """Points, the newest first; of the days or times `since` to `until`, both included. Raises as `names_of`."""
    names: Iterable[PointName] = names_of(opened, machine, item)
    if since:
        first = days.begin(since, "from")
        names = [name for name in names if name.time >= first]
    if until:
        end = days.end(until, "to")
        names = [name for name in names if name.time < end]
    after = _after(cursor) if cursor else None
    some = nsmallest(count + 1, (n for n in names if after is None or _place(n) > after), key=_place)
    rows = [_point_row(name) for name in some[:count]]
    return PointList(points=rows, next=_cursor(some[count - 1]) if len(some) > count else None)


def _point_row(name: PointName) -> PointRow:
    return PointRow(
        id=name.id.hex(), time=when(name.time or 1), machine=name.machine.hex(), item=name.item.hex(),
        sequence=min(name.sequence, SAFE),
    )  # fmt: skip


def _place(name: PointName) -> tuple[int, int, bytes]:
    """What points are ordered by, the newest first."""
    return -name.time, -name.sequence, name.id


def _cursor(name: PointName) -> str:
    return f"{name.time}.{name.sequence}.{name.id.hex()}"


def _after(cursor: str) -> tuple[int, int, bytes]:
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise UsageError("the cursor of the list is malformed", "open the list again, from the top")
    return -int(found[1]), -int(found[2]), bytes.fromhex(found[3])


def point(opened: Opened, point_id: str) -> PointInfo:
    """One point. 1 request for its record, 3 listings if they are stale, and some requests for what checks found.

    Raises NotFound, Damaged and StoreError.
    """
    record = opened.whole_point(point_id)
    before, after = neighbours(opened, PointName.of(record), fresh=True)
    known = _machine(opened, record.machine)
    totals = record.totals
    return PointInfo(
        id=record.id.hex(), time=when(record.time or 1), finished=when(record.finished),
        machine=record.machine.hex(),
        machine_name=known[record.machine].name if record.machine in known else record.machine_name,
        item=record.item.hex(), item_name=record.item_name, kind=record.kind or "files", system=record.system,
        sequence=min(record.sequence, SAFE), files=totals.files, entries=totals.entries,
        bytes=min(totals.bytes, SAFE), new_bytes=_safe(record.new_bytes), stored_bytes=_safe(record.stored_bytes),
        warnings=_safe(record.problem_count), paths=[name_of(path)[0] for path in record.paths[:1000]],
        problems=[*_problems(record)], previous=before, next=after, forgotten_until=None,
        damaged=_damaged(opened, record, known),
    )  # fmt: skip


def _machine(opened: Opened, machine: bytes) -> dict[bytes, Machine]:
    """The record of a machine by its id, a few seconds old at most; none if it has none."""
    records, now = _known_of(opened).records, time.monotonic()
    found = records.get(machine)
    if found is None or now - found[0] > FRESH_SECONDS:
        newest = opened.vault.machine(machine)
        records.clear()
        records[machine] = found = now, {} if newest is None else {machine: newest[1]}
    return found[1]


def _safe(number: int) -> int:
    return min(max(number, 0), SAFE)


def _problems(record: Point) -> Iterator[str]:
    for problem in record.problems[:_PROBLEMS]:
        yield f"{name_of(problem.path)[0]}: {problem.reason}"


def _damaged(opened: Opened, record: Point, known: dict[bytes, Machine]) -> int | None:
    """The files that a point can't give back; None if nothing is known of any check."""
    checked = _known_of(opened).checked
    now = time.monotonic()
    found = checked.get(record.machine)
    if found is None or now - found[0] > _CHECKED_FRESH:
        try:
            found = now, Health.of(opened.vault, [record.machine], known)
        except RpdriveError:  # what checks found is information: the point is shown without it
            return None
        checked[record.machine] = found
    row = found[1].damaged(record)
    return row.files if row is not None else 0
