"""Looks at what a vault has, in a bounded number of requests: its numbers, for the model of what it costs.

A vault of up to 100,000 objects is listed once, which is one request for each 5,000. Of a larger one 16 machines
are looked at, drawn at random, and the others are taken to be like them.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from catalog.cost.counts import Shape
from catalog.errors import RpdriveError
from catalog.format.packs import pack_named
from catalog.format.records import ItemName, MachineName, Point, PointName
from catalog.format.sealed import Kind
from catalog.store.base import LIST_PAGE, ObjectInfo
from catalog.vault import Vault

PAGES = 20  # requests by which a vault is listed as a whole; if it has more objects, some machines are looked at
MACHINES = 16  # of such a vault
OF_FOLDER = 8  # requests by which a folder of a machine is listed; from a longer one the rest is reckoned
ITEMS = 4  # of a machine whose newest point is opened
DAYS = 30  # what was stored within so many days is what a month adds
DAY = 86_400 * 10**9  # ns
OF_MACHINE = {"packs": 8, "meta": 8, "index": 32, "jobs": 32, "items": 32, "points": 32}  # digits of its name there
OF_VAULT = ("policies", "plans", "ledger", "places", "checks", "vault")
TREE_BLOCK = 64 << 10  # stored bytes of a full block of a tree (256 KiB), about
_SLICES = 256  # the folders among which packs are spread evenly


class Looked(NamedTuple):
    """What a vault has. `data` and `trees` are the bytes of packs that a machine stored in the last month, but for
    first backups.

    `items` are those (ids) of the machines that were looked at. `kinds` are objects and bytes by folder, of the
    whole vault. `is_all`: everything was counted. `days`: how old the oldest object is, 30 at most. `backups` of an
    item were made in them, but for its first one.
    """

    shape: Shape
    data: float
    trees: float
    items: dict[bytes, list[bytes]]
    kinds: dict[str, tuple[float, float]]
    is_all: bool
    days: float
    backups: float


class _Counts:
    """Objects, bytes and new bytes by folder."""

    def __init__(self, now: int) -> None:
        self._since, self._now = now - DAYS * DAY, now
        self._oldest = now
        self.objects, self.size, self.new = (defaultdict[str, float](float) for _ in range(3))
        self.machines = set[bytes]()
        self.items = set[tuple[bytes, bytes]]()
        self.newest: dict[tuple[bytes, bytes], PointName] = {}
        self.points = Counter[tuple[bytes, bytes]]()
        self.recent = self.first = 0  # points of the last month, and those of them that were first ones

    def take(self, infos: Iterable[ObjectInfo]) -> tuple[int, str]:
        """Count objects. Returns how many there were, and the name of the last one."""
        count, name = 0, ""
        for info in infos:
            count, name = count + 1, info.name
            self._take(info, 1.0)
        return count, name

    def take_packs(self, infos: Iterable[ObjectInfo]) -> None:
        """As `take`, for packs of a machine. If there are too many, only some are counted, and the rest reckoned:
        their names are drawn at random, so that the last one says how many follow."""
        rows = list(islice(infos, OF_FOLDER * LIST_PAGE))
        times = 1.0
        if len(rows) == OF_FOLDER * LIST_PAGE:
            pack = pack_named(rows[-1].name)
            times = _SLICES / (pack[5] + 0.5) if pack is not None else 1.0
        for info in rows:
            self._take(info, times)

    def _take(self, info: ObjectInfo, times: float) -> None:
        folder = info.name.partition("/")[0]
        self.objects[folder] += times
        self.size[folder] += info.size * times
        self._oldest = min(self._oldest, info.modified)
        if info.modified >= self._since:
            self.new[folder] += info.size * times
        if folder == "points":
            self._point(info.name)
        elif folder == "machines" and (machine := MachineName.parse(info.name)) is not None:
            self.machines.add(machine.id)
        elif folder == "items" and (item := ItemName.parse(info.name)) is not None:
            self.items.add((item.machine, item.id))

    def _point(self, text: str) -> None:
        name = PointName.parse(text)
        if name is None or name.partial:
            return
        key = name.machine, name.item
        self.points[key] += 1
        if name.time >= self._since:
            self.recent += 1
            self.first += name.sequence <= 1
        if key not in self.newest or name.sequence > self.newest[key].sequence:
            self.newest[key] = name

    @property
    def days(self) -> float:
        return min(float(DAYS), max((self._now - self._oldest) / DAY, 1.0))


def look(vault: Vault, *, everything: bool = False, now: int | None = None) -> Looked:
    """Look at a vault. Raises StoreError.

    Requests: a listing, of at most 20 pages unless `everything` is wanted. If that does not suffice, one of all
    machines, six of each of 16 of them (each of 8 pages at most), and six of other folders. And one for each point
    that is opened and not cached, 64 at most.
    """
    counts = _Counts(time.time_ns() if now is None else now)
    if everything:
        counts.take(vault.store.list(""))
    elif counts.take(islice(vault.store.list(""), PAGES * LIST_PAGE))[0] >= PAGES * LIST_PAGE:
        return _some(vault, _Counts(counts._now))
    machines = counts.machines | {machine for machine, _item in counts.points}
    return _looked(vault, counts, sorted(machines), len(machines), is_all=True)


def _some(vault: Vault, counts: _Counts) -> Looked:
    """Look at some machines."""
    counts.take(vault.store.list("machines/"))
    every = sorted(counts.machines)
    some = sorted(random.Random().sample(every, min(MACHINES, len(every))))
    most = OF_FOLDER * LIST_PAGE
    for machine in some:
        for folder, digits in OF_MACHINE.items():
            listing = vault.store.list(f"{folder}/{machine.hex()[:digits]}/")
            if folder in ("packs", "meta"):
                counts.take_packs(listing)
            else:
                counts.take(islice(listing, most))
    for folder in OF_VAULT:
        counts.take(islice(vault.store.list(f"{folder}/"), most))
    return _looked(vault, counts, some, len(every), is_all=False)


def _looked(vault: Vault, counts: _Counts, some: list[bytes], count: int, *, is_all: bool) -> Looked:
    items: dict[bytes, list[bytes]] = {machine: [] for machine in some}
    for machine, item in sorted(counts.items | set(counts.points)):
        if machine in items:
            items[machine].append(item)
    n = max(len(some), 1)
    objects, size = counts.objects, counts.size
    every = max(sum(map(len, items.values())), 1)  # items
    points = [p for p in map(counts.newest.get, _chosen(items)) if p is not None]
    newest = _Newest(_opened(vault, points))
    folders = ("items", "points", "jobs")
    other = sum(size[folder] for folder in folders) / n
    other += sum(size[folder] for folder in (*OF_VAULT, "machines", "vault.json", "seeds", "marks")) / max(count, 1)
    data = size["packs"] / n
    shape = Shape(
        machines=max(count, 1), items=every / n, points=max(sum(counts.points.values()) / every, 0.0),
        packs=objects["packs"] / n, pack_bytes=data, trees=objects["meta"] / n, tree_bytes=size["meta"] / n,
        index=objects["index"] / n, index_bytes=size["index"] / n, jobs=objects["jobs"] / n, other_bytes=other,
        policies=objects["policies"], plans=objects["plans"], ledgers=objects["ledger"], places=objects["places"],
        checks=objects["checks"], copies=objects["vault"], size=newest.size * every / n,
        files=newest.files * every / n, newest=min(newest.stored * every / n, data),
        tree=min(newest.tree, size["meta"] / every),
    )  # fmt: skip
    times = {folder: max(count, 1) / n if folder in OF_MACHINE else 1.0 for folder in list(objects)}
    kinds = {folder: (objects[folder] * more, size[folder] * more) for folder, more in times.items()}
    first = counts.first / every  # the share of the items whose first backup was in the last month
    added = max(counts.new["packs"] / n - first * shape.newest, 0.0)
    trees = max(counts.new["meta"] / n - first * shape.tree * shape.items, 0.0)
    backups = (counts.recent - counts.first) / every
    return Looked(shape, added, trees, items, kinds, is_all, counts.days, backups)


def _chosen(items: dict[bytes, list[bytes]]) -> list[tuple[bytes, bytes]]:
    """Items whose newest points are opened: of at most 16 machines, and 4 of each."""
    machines = [machine for machine in items if items[machine]]
    some = random.Random().sample(machines, min(MACHINES, len(machines)))
    return [(machine, item) for machine in sorted(some) for item in items[machine][:ITEMS]]


def _opened(vault: Vault, names: list[PointName]) -> list[Point]:
    return [p for p in vault.read_each(Kind.POINT, Point, names) if not isinstance(p, RpdriveError)]


class _Newest:
    """The average of newest points: bytes, files, stored bytes, and bytes of a tree."""

    def __init__(self, points: list[Point]) -> None:
        n = max(len(points), 1)
        self.size = sum(p.totals.bytes for p in points) / n
        self.files = sum(p.totals.files for p in points) / n
        new, stored = sum(p.new_bytes for p in points), sum(p.stored_bytes for p in points)
        ratio = min(stored / new, 1.0) if new > 1 << 20 else 1.0
        self.stored = self.size * ratio
        self.tree = sum(min(p.fresh_blocks or p.tree_blocks, p.tree_blocks) for p in points) / n * TREE_BLOCK
