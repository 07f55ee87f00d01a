"""The recovery points of items, in order."""

from __future__ import annotations

from typing import NamedTuple

from catalog.errors import NotFound, RpdriveError
from catalog.format.records import Machine, Point
from catalog.machines.registry import machine_names
from catalog.points.choice import iter_items
from catalog.points.opening import listed_points, open_point, read_points
from catalog.vault import Vault


class Timeline(NamedTuple):
    """The points of one item, ordered by sequence. Bit n of a set of points represents `points[n]`."""

    points: list[Point]
    machine: str  # its name today

    @property
    def item(self) -> str:
        return self.points[-1].item_name

    @property
    def title(self) -> str:
        return f"{self.machine}/{self.item}"


class Timelines(NamedTuple):
    """Items, and an error for each of their points that can't be read. `older` points were left out."""

    found: list[Timeline]
    damaged: list[RpdriveError]
    older: int = 0

    @property
    def point_count(self) -> int:
        return sum(len(line.points) for line in self.found)


def all_timelines(
    vault: Vault, machine: str | None = None, item: str | None = None, newest: int | None = None
) -> Timelines:
    """All points of a machine, of an item, or of all machines that are not forgotten.

    With `newest`, so many of each item, those with the highest sequence.
    Costs 2 listings, and 1 request for each record not seen before. A point that can't be read
    does not hide others. Raises NotFound (also if there are no points), AmbiguousName and StoreError.
    """
    names, machines = listed_points(vault, machine, item).visible(), vault.machines()
    if machine is None and item is None:
        names = [n for n in names if not (n.machine in machines and machines[n.machine].forgotten)]
    if not names:
        raise NotFound("there are no recovery points here yet", "make one with `rpdrive backup PATH`")
    wanted = names if newest is None else [n for _item, some in iter_items(names) for n in some[-newest:]]
    points, damaged = read_points(vault, wanted)
    items: dict[tuple[bytes, bytes], list[Point]] = {}
    for point in points:
        items.setdefault((point.machine, point.item), []).append(point)
    lines = [_timeline(sorted(p, key=lambda p: (p.sequence, p.time, p.id)), machines) for p in items.values()]
    return Timelines(sorted(lines, key=lambda line: line.title), damaged, len(names) - len(wanted))


def one_point(vault: Vault, spec: str, machine: str | None = None, item: str | None = None) -> Timelines:
    """One point, as the only one of its item. Raises NotFound, AmbiguousName, Damaged and StoreError."""
    point = open_point(vault, listed_points(vault, machine, item), spec)
    return Timelines([_timeline([point], vault.machines())], [])


def _timeline(points: list[Point], machines: dict[bytes, Machine]) -> Timeline:
    newest = points[-1]
    return Timeline(points, machine_names(machines).get(newest.machine, newest.machine_name))
