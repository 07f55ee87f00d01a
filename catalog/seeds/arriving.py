"""What has arrived of a seed, and what has not: lists of disks beside a listing of the vault. No I/O.

Lists and listings come in order of name, so both are merged as they come, and a seed of millions of objects takes
no more memory than a small one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from catalog.errors import Damaged
from catalog.seeds.disk import Listed
from catalog.store.base import ObjectInfo

SHOWN = 20  # names of each kind that a report has; the counts are exact
# An import goes by these steps: nothing is stored before what it refers to. The first two are taken from each disk
# as it comes. The others wait until all of the first two is in the vault, and `seeds/` is the very last object.
EARLY = (("packs/", "meta/"), ("index/",))
LATE = (("jobs/",), ("points/",), ("seeds/",))
_EARLY = tuple(folder for step in EARLY for folder in step)
_SERIES = 8  # digits of a machine's id that name its packs


class Names:
    """Holds the names of a seed to what one machine's backups write, and to the seed's own end.

    Raises Damaged for any other: a disk may have been in other hands, and must not add to the vault what no seed
    carries, e.g. objects of another machine.
    """

    def __init__(self, ended: str, machine: str) -> None:
        self._ended = ended
        self.machine = machine  # its id in hex

    def check(self, name: str, where: str) -> None:
        """Raise Damaged if this name can't be on a disk of the seed. `where` is said in the error."""
        folder, _slash, rest = name.partition("/")
        if folder == "seeds":
            if name != self._ended:
                raise Damaged(f"{where} lists {name}, which belongs to another seed")
            return
        machine, slash, _name = rest.partition("/")
        own = self.machine[:_SERIES] if folder in ("packs", "meta") else self.machine
        if machine != own or not slash:
            raise Damaged(f"{where} lists {name}, which no backup of the seed's machine writes")

    def prefixes(self) -> list[str]:
        """The folders of the vault that hold what the seed brings before its points, in order of name."""
        series = self.machine[:_SERIES]
        return [f"index/{self.machine}/", f"meta/{series}/", f"packs/{series}/"]


class Row(NamedTuple):
    """An object that a disk lists. `there` is its size in the vault (bytes); None if it is not there."""

    disk: int
    name: str
    size: int
    hash: bytes
    there: int | None

    @property
    def is_missing(self) -> bool:
        return self.there is None

    @property
    def is_conflict(self) -> bool:
        return self.there not in (None, self.size)


def compared(lists: Iterable[tuple[int, Iterable[Listed]]], there: Iterable[ObjectInfo]) -> Iterator[Row]:
    """Each object of these disks' lists, in order of name, and what the vault has under that name.

    An object that two disks list comes twice. `there` is a listing of the vault, in order of name.
    """
    rows = heapq.merge(*(_numbered(disk, rows) for disk, rows in lists))
    found = iter(there)
    info = next(found, None)
    for name, disk, size, digest in rows:
        while info is not None and info.name < name:
            info = next(found, None)
        yield Row(disk, name, size, digest, info.size if info is not None and info.name == name else None)


def hashed(rows: Iterable[Row], disk: int) -> Iterator[Row]:
    """What the vault lacks of one disk, each with the hash that any list has for it. Rows as of `compared`."""
    for _name, group in groupby(rows, key=lambda row: row.name):
        same = list(group)
        digest = next((row.hash for row in same if row.hash), b"")
        yield from (row._replace(hash=digest) for row in same if row.disk == disk and row.is_missing)


def _numbered(disk: int, rows: Iterable[Listed]) -> Iterator[tuple[str, int, int, bytes]]:
    for name, size, digest in rows:
        yield name, disk, size, digest


def is_early(name: str) -> bool:
    """Whether an object may be stored before the whole seed has arrived."""
    return name.startswith(_EARLY)


class Some:
    """Objects with a problem: how many, their bytes, and the first names."""

    def __init__(self) -> None:
        self.objects = 0
        self.bytes = 0
        self.names: list[str] = []

    def add(self, name: str, size: int) -> None:
        self.objects += 1
        self.bytes += size
        if len(self.names) < SHOWN:
            self.names.append(name)


class DiskState:
    """A disk of a seed and how much of it the vault has.

    `place` is where it was found in this run, "" if it was not; `known` is False if nobody could say what is on it.
    """

    def __init__(self, number: int, label: str, place: str = "", *, known: bool = True) -> None:
        self.number = number
        self.label = label
        self.place = place
        self.known = known
        self.objects = 0
        self.bytes = 0
        self.missing = Some()  # in the vault
        self.conflicts = Some()  # the vault has other bytes under these names
        self.damaged = Some()  # on the disk: other bytes than listed, or none that can be read

    @property
    def has_arrived(self) -> bool:
        """Whether everything that it lists is in the vault."""
        return self.known and not self.missing.objects and not self.conflicts.objects


def tally(rows: Iterable[Row], disks: dict[int, DiskState], counts: Callable[[str], bool] = is_early) -> None:
    """Count what these disks list, what of it the vault lacks, and what it has differently."""
    for state in disks.values():
        state.objects = state.bytes = 0
        state.missing, state.conflicts = Some(), Some()
    for row in rows:
        if not counts(row.name):
            continue
        state = disks[row.disk]
        state.objects += 1
        state.bytes += row.size
        if row.is_missing:
            state.missing.add(row.name, row.size)
        elif row.is_conflict:
            state.conflicts.add(row.name, row.size)
