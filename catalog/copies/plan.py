"""What one listing of a vault and of its copy says: what to copy, in which order, and what waits. Without requests.

An object is copied after all that it refers to. The groups say so for the objects of one listing; a point that
was stored while the listing ran may refer to packs that the listing had passed already, and waits for the next one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from catalog.errors import LocalError
from catalog.format.packs import SERIES_BYTES, pack_named
from catalog.format.records import PointName
from catalog.transfer.differ import Row
from catalog.transfer.outcome import Conflict, Outcome, Wanted
from catalog.vault_json import NAME as VAULT_FILE

CLOCK = 10**9  # ns: stores tell their time, and when objects were stored, in whole seconds
# vault.json is written apart, and its versions with it; what was read at the source was not read in the copy.
_NOT_COPIED = ("vault/", "checks/", "marks/")
_IN_MEMORY = 4 << 20  # bytes of names, in each group; more go to a temporary file
OTHER = "other"
KINDS = (
    "packs", "meta", "index", "machines", "items", "policies", "plans", "jobs", "ledger", "places", "seeds",
    "points",
)  # fmt: skip


# They say what points there are and where bytes are, and are named by numbers: a vault that was put back as it
# was earlier gives the same names to other records.
_NUMBERED = frozenset(("ledger", "places"))


class Group(IntEnum):
    """The order of copying: each group is complete before the next one begins.

    A ledger goes before records of places: what these no longer hold, no visible point may need.
    """

    PACKS = 0
    RECORDS = 1
    LEDGERS = 2
    PLACES = 3
    POINTS = 4


_GROUPS = {
    "packs": Group.PACKS,
    "meta": Group.PACKS,
    "ledger": Group.LEDGERS,
    "seeds": Group.LEDGERS,
    "places": Group.PLACES,
    "points": Group.POINTS,
}


def kind_of(name: str) -> str:
    """What an object is, by its name, e.g. `packs`; `other` for what a later version may have stored."""
    top, slash, _rest = name.partition("/")
    return top if slash and top in KINDS else OTHER


def group_of(name: str) -> Group | None:
    """When an object is copied; None: not at all."""
    if name == VAULT_FILE or name.startswith(_NOT_COPIED):
        return None
    return _GROUPS.get(kind_of(name), Group.RECORDS)


def may_refer(name: str) -> bool:
    """Whether an object refers to others that a listing shows before it."""
    return group_of(name) in (Group.PLACES, Group.POINTS)


class Wants:
    """Objects to copy, in the order in which they were added: in memory, or in a temporary file if they are many.

    Raises LocalError if that file can't be used.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by `close`
        self.count = self.bytes = 0

    def add(self, name: str, size: int) -> None:
        try:
            self._file.write(b"%s %d\n" % (name.encode(), size))
        except OSError as e:
            raise LocalError(
                f"the list of what to copy can't be kept in a temporary file: {e.strerror}",
                "free some space for temporary files, or set TMPDIR",
            ) from e
        self.count, self.bytes = self.count + 1, self.bytes + size

    def __iter__(self) -> Iterator[Wanted]:
        self._file.seek(0)
        for line in self._file:
            name, _space, size = line.decode().rpartition(" ")
            yield Wanted(name, int(size))

    def close(self) -> None:
        self._file.close()


class Count(NamedTuple):
    objects: int = 0
    bytes: int = 0

    def plus(self, size: int) -> Count:
        return Count(self.objects + 1, self.bytes + size)


class Look:
    """What one listing of both sides says. `began` is the source's time before it (ns); 0: it can't be known.

    Objects of which an earlier listing said that they wait (`waited`) wait no more: what they refer to was there
    before this listing began. With `every`, objects that both sides have are compared, too.
    """

    def __init__(self, began: int, waited: Collection[str] = (), *, every: bool = False) -> None:
        self.began, self._waited, self._every = began, waited, every
        self.wants = {group: Wants() for group in Group}
        self.both: set[str] = set()  # of what refers to others and is wanted: what both sides have
        # Records that may be others in the copy: their size, and when both sides stored them.
        self.doubtful: dict[str, tuple[int, str]] = {}
        self.missing: dict[str, Count] = {}  # by kind: what the copy lacks
        self.present: dict[str, Count] = {}  # what both have
        self.waiting: set[str] = set()
        self.outcome = Outcome()  # of what is seen from sizes alone
        self.highest: dict[tuple[bytes, bytes], int] = {}  # numbers of whole points, by machine and item
        self.numbers: set[str] = set()  # of vault/<number>.json, at the target
        self.points = 0  # whole ones at the source
        self.copied_points = 0  # of these, those that the copy had before

    def add(self, row: Row) -> bool:
        """Take a row of the listings. Whether the copy alone has the object."""
        group = group_of(row.name)
        if group is None:
            if row.target is not None and row.name.startswith("vault/"):
                self.numbers.add(row.name)
            return False
        kind = kind_of(row.name)
        self._point(row, group)
        if row.source is None:
            return True
        size = row.source.size
        if row.target is None:
            self.missing[kind] = self.missing.get(kind, Count()).plus(size)
            if self._is_young(row):
                self.waiting.add(row.name)
            else:
                self.wants[group].add(row.name, size)
        elif row.target.size != size:
            self.outcome.add_conflict(Conflict(row.name, size, row.target.size, "it has another size"))
        else:
            self.present[kind] = self.present.get(kind, Count()).plus(size)
            if self._every:
                self.wants[group].add(row.name, size)
                if may_refer(row.name):
                    self.both.add(row.name)
            elif kind in _NUMBERED and row.source.modified > row.target.modified + CLOCK:
                self.doubtful[row.name] = size, f"{row.source.modified} {row.target.modified}"
        return False

    def _point(self, row: Row, group: Group) -> None:
        name = PointName.parse(row.name) if group == Group.POINTS else None
        if name is None or name.partial:
            return
        key = name.machine, name.item
        self.highest[key] = max(self.highest.get(key, 0), name.sequence)
        self.points += row.source is not None
        self.copied_points += row.source is not None and row.target is not None

    def _is_young(self, row: Row) -> bool:
        """Whether the object may refer to what was stored after the listing had passed there."""
        if row.source is None or not may_refer(row.name) or row.name in self._waited:
            return False
        return row.source.modified + CLOCK > self.began

    def distrust(self) -> None:
        """The times of this listing say nothing: all that refers to others waits, unless it has waited before."""
        for group in (Group.PLACES, Group.POINTS):
            wants, self.wants[group] = self.wants[group], Wants()
            for one in wants:
                if one.name in self._waited:
                    self.wants[group].add(one.name, one.size)
                else:
                    self.waiting.add(one.name)
            wants.close()

    def close(self) -> None:
        for wants in self.wants.values():
            wants.close()


class Held:
    """For whom something is missing that points may need: nothing that refers to it is copied.

    `series` and `machines` are ids; `all`: more is missing than was listed.
    """

    def __init__(self) -> None:
        self.series: set[bytes] = set()
        self.machines: set[bytes] = set()
        self.all = False

    def __bool__(self) -> bool:
        return self.all or bool(self.series or self.machines)

    def note(self, outcome: Outcome) -> None:
        """Note what was not copied."""
        names = [*(one.name for one in outcome.conflicts), *(one.name for one in outcome.damaged)]
        self.all |= outcome.conflict_count + outcome.damaged_count > len(names)
        for name in names:
            self.name(name)

    def name(self, name: str) -> None:
        """Note that one object is not there."""
        group = group_of(name)
        part = name.split("/")[1] if "/" in name else ""
        if group == Group.PACKS and pack_named(name) is not None:
            self.series.add(bytes.fromhex(part))
        elif group in (Group.PLACES, Group.LEDGERS) and kind_of(name) != "seeds":
            one = _hex(part.partition(".")[0])
            if one is not None:
                self.series.add(one[:SERIES_BYTES])
                if group == Group.LEDGERS:
                    self.machines.add(one)

    def has_places(self, name: str) -> bool:
        """Whether a record of places is held back."""
        one = _hex(name.split("/")[1].partition(".")[0])
        return self.all or (one is not None and one[:SERIES_BYTES] in self.series)

    def has_machine(self, machine: bytes, series: Iterable[bytes] | None) -> bool:
        """Whether points of a machine are held back, which may refer to these series; None: to any."""
        if not self:
            return False
        return self.all or machine in self.machines or series is None or not self.series.isdisjoint(series)


def _hex(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None
