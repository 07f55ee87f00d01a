"""Which objects a made-up vault has: their names, in the order of a listing, and their ages. No keys, no contents.

Each machine has one item with the same number of points. Each point wrote one data pack, one tree pack, one index
object, the records of a job and its start, as a backup of a machine does on which one small file has changed.
Without folders there are no packs and no index objects, and points have the trees that a test gives them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from catalog.format.blocks import PackKind
from catalog.format.packs import pack_name, series_folder
from catalog.format.records import ItemName, JobName, MachineName, PointName, StartName, _time_text

GROUPS = ("index", "items", "jobs", "machines", "meta", "packs", "points")
RECORDS = ("items", "jobs", "machines", "points")  # what there is without contents
SECOND, HOUR = 10**9, 3600 * 10**9  # ns
AFRESH = 5  # points after which a backup of so few files writes the tree afresh
MOST = 64  # folders, and files in a folder: each folder is one page


class Made(NamedTuple):
    """An object: what it is, of which machine (by number), and of which of its points."""

    group: str
    machine: int
    point: int
    is_start: bool = False  # of the record of a job's start


class Shape(msgspec.Struct, frozen=True):
    """The numbers of a vault. `end` is the time of the first machine's last point, `interval` from one to the next,
    `stagger` from a point of one machine to that of the next machine (ns).
    """

    machines: int
    points: int
    folders: int
    files: int  # in each folder
    end: int
    interval: int = 8 * HOUR
    stagger: int = 0

    @property
    def groups(self) -> tuple[str, ...]:
        return GROUPS if self.folders else RECORDS

    def time(self, machine: int, point: int) -> int:
        return self.end - (self.points - 1 - point) * self.interval + machine * self.stagger

    def modified(self, machine: int, point: int) -> int:
        """When the store got what a point wrote."""
        return self.time(machine, point) + 60 * SECOND


class Names:
    """The names of a vault's objects."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        found = sorted((machine_id(n), n) for n in range(shape.machines))
        self.machines = [n for _id, n in found]  # in the order of their ids
        self._numbers = {identity.hex(): n for identity, n in found}
        self._series = {identity[:4].hex(): n for identity, n in found}
        self._texts = lru_cache(4)(self._time_texts)
        self.name = lru_cache(32)(self._name)  # what is asked for is parsed, and then sealed with its name

    def _time_texts(self, machine: int) -> list[str]:
        return [_time_text(self.shape.time(machine, p)) for p in range(self.shape.points)]

    def _times(self, machine: int) -> list[str]:
        """The times of a machine's points, as names have them."""
        return self._texts(machine if self.shape.stagger else 0)

    def point(self, machine: int, point: int) -> PointName:
        """The name of a point."""
        time = self.shape.time(machine, point)
        return PointName(machine_id(machine), item_id(machine), time, point + 1, point_id(machine, point), False)

    def _name(self, made: Made) -> str:
        """The name of an object."""
        machine, point, shape = made.machine, made.point, self.shape
        owner = machine_id(machine)
        match made.group:
            case "machines":
                return str(MachineName(owner, 1))
            case "items":
                return str(ItemName(owner, item_id(machine), 1))
            case "index":
                return f"index/{owner.hex()}/{drawn(b'index', machine, point, 12, point.to_bytes(4)).hex()}"
            case "jobs":
                job = JobName(owner, shape.time(machine, point), drawn(b"job", machine, point))
                return str(StartName(job) if made.is_start else job)
            case "points":
                return str(self.point(machine, point))
        kind = PackKind.DATA if made.group == "packs" else PackKind.TREE
        return pack_name(kind, pack_id(kind, machine, point))

    def parse(self, name: str) -> Made | None:
        """The object of a name; None if there is none."""
        group, _slash, rest = name.partition("/")
        parts = rest.split("/")
        if group not in self.shape.groups:
            return None
        machine = (self._series if group in ("meta", "packs") else self._numbers).get(parts[0])
        if machine is None:
            return None
        last, point = parts[-1], 0
        try:
            match group:
                case "index":
                    point = int(last[:8], 16)
                case "jobs":
                    point = bisect_left(self._times(machine), last[:16])
                case "points":
                    point = int(last[17:25]) - 1
                case "meta" | "packs":
                    point = int(last[10:12], 16) | int(last[12:18], 16) << 8
        except ValueError:
            return None
        made = Made(group, machine, point, last.endswith(".started"))
        return made if 0 <= point < self.shape.points and self.name(made) == name else None

    def listed(self, prefix: str) -> Iterator[tuple[str, Made]]:
        """All objects whose names begin so, in order of name."""
        for group in self.shape.groups:
            if f"{group}/".startswith(prefix) or prefix.startswith(f"{group}/"):
                for machine in self.machines:
                    yield from self._below(group, machine, prefix)

    def _below(self, group: str, machine: int, prefix: str) -> Iterator[tuple[str, Made]]:
        owner = machine_id(machine).hex()
        top = f"{group}/{owner[:8] if group in ('meta', 'packs') else owner}/"
        if not (top.startswith(prefix) or prefix.startswith(top)):
            return
        points, times = self.shape.points, self._times(machine)
        if group in ("machines", "items"):
            rows: Iterator[tuple[str, Made]] = iter([self._pair(Made(group, machine, 0))])
        elif group == "points":
            start = f"{top}{item_id(machine).hex()}/"
            rows = (
                (f"{start}{times[p]}-{p + 1:08d}-{point_id(machine, p).hex()}", Made(group, machine, p))
                for p in _at(times, prefix[len(start) :])
            )
        elif group == "jobs":
            rows = (
                (
                    f"{top}{times[p]}-{drawn(b'job', machine, p).hex()}{end}",
                    Made(group, machine, p, bool(end)),
                )
                for p in _at(times, prefix[len(top) :])
                for end in ("", ".started")
            )
        elif group == "index":
            rows = (self._pair(Made(group, machine, p)) for p in range(points))
        else:
            kind = PackKind.DATA if group == "packs" else PackKind.TREE
            slices = range(min(256, points))
            if len(prefix) >= len(top) + 2:
                slices = range(number := int(prefix[len(top) : len(top) + 2], 16), number + 1)
            start = series_folder(kind, machine_id(machine))
            rows = (
                (f"{start}{part:02x}/{pack_id(kind, machine, p).hex()}", Made(group, machine, p))
                for part in slices
                for p in range(part, points, 256)
            )
        yield from rows if top.startswith(prefix) else (row for row in rows if row[0].startswith(prefix))

    def _pair(self, made: Made) -> tuple[str, Made]:
        return self.name(made), made

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders directly below a prefix."""
        parts = prefix.split("/")[:-1]
        if not parts:
            return list(self.shape.groups)
        group, ids = parts[0], [machine_id(n).hex() for n in self.machines]
        if group not in self.shape.groups:
            return []
        is_pack = group in ("meta", "packs")
        if len(parts) == 1:
            return [one[:8] for one in ids] if is_pack else ids
        machine = (self._series if is_pack else self._numbers).get(parts[1])
        if machine is None or len(parts) > 2:
            return []
        if is_pack:
            return [f"{n:02x}" for n in range(min(256, self.shape.points))]
        return [item_id(machine).hex()] if group in ("items", "points") else []


def _at(times: list[str], tail: str) -> range:
    """The points whose times begin as a name does."""
    time = tail[:16]
    return range(bisect_left(times, time), bisect_left(times, time + "~"))


@lru_cache(1 << 13)
def machine_id(number: int) -> bytes:
    return drawn(b"machine", number, 0)


@lru_cache(1 << 13)
def item_id(machine: int) -> bytes:
    return drawn(b"item", machine, 0)


def machine_name(number: int) -> str:
    return f"machine-{number:05d}"


@lru_cache(8)
def point_id(machine: int, point: int) -> bytes:
    return drawn(b"point", machine, point)


def pack_id(kind: PackKind, machine: int, point: int) -> bytes:
    """The id of the pack that a point wrote: greater than those of earlier points in its series and slice."""
    head = machine_id(machine)[:4] + bytes([0, point & 255]) + (point >> 8).to_bytes(3)
    return drawn(kind.folder.encode(), machine, point, 7, head)


def drawn(what: bytes, machine: int, point: int, length: int = 16, head: bytes = b"") -> bytes:
    """Bytes that look drawn at random, and are the same each time."""
    return head + blake2b(b"%s/%d/%d" % (what, machine, point), digest_size=length).digest()
