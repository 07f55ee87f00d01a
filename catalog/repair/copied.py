"""Takes records from another place of the vault: those that the first one has lost, or that don't open there.

Of versions and numbered records the newest counts, so only that is taken, if it is newer than what is there, or the
same and whole. Points are taken unless a ledger, of either place, says that they are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from catalog.errors import AccessDenied, Damaged, NewerFormat, ObjectExists, ObjectNotFound, RpdriveError
from catalog.format.numbers import parsed_number
from catalog.format.records import Point, PointName
from catalog.format.sealed import Kind, max_sealed, open_object
from catalog.format.signed import SIGNED, open_signed
from catalog.ledger.records import Ledgers
from catalog.repair.taking import Copied
from catalog.store.base import REPLACEABLE
from catalog.vault import Vault

_FOLDERS = {
    "machines/": Kind.MACHINE, "items/": Kind.ITEM, "policies/": Kind.RETENTION, "plans/": Kind.PLAN,
    "ledger/": Kind.LEDGER, "places/": Kind.PLACES,
}  # fmt: skip
_AT_ONCE = 1000  # points whose records are in memory
_BAD = (Damaged, NewerFormat, ObjectNotFound)


class CopiedRecord(NamedTuple):
    """A record that can be taken. `damaged`: there is an object of this name, which does not open."""

    kind: Kind
    name: str
    place: Copied
    damaged: bool


class Records:
    """Finds records that the vault has lost in other places of it."""

    def __init__(self, vault: Vault, places: Sequence[Copied]) -> None:
        self._vault, self._places = vault, places

    def numbered(self) -> Iterator[CopiedRecord]:
        """Machines, items, policies, plans, ledgers and records of places. One listing of each, in each place.

        Raises StoreError.
        """
        for prefix, kind in _FOLDERS.items():
            here = _newest(self._vault, prefix)
            there = [(place, _newest(place.vault, prefix)) for place in self._places]
            for folder in sorted(here.keys() | {folder for _place, found in there for folder in found}):
                mine = here.get(folder, "")
                damaged = bool(mine) and self._proven(self._vault, kind, mine) is None
                for place, found in there:
                    theirs = found.get(folder, "")
                    better = _number(theirs) > _number(mine) or (theirs == mine and damaged)
                    if better and self._proven(place.vault, kind, theirs) is not None:
                        yield CopiedRecord(kind, theirs, place, theirs == mine)
                        break

    def points(self) -> Iterator[CopiedRecord]:
        """Points. One listing in each place, and one request for each point. Raises StoreError."""
        here = dict.fromkeys(self._vault.point_names())
        names, damaged = list(here), set[PointName]()
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            found = self._vault.read_each(Kind.POINT, Point, some, fresh=True)
            damaged |= {name for name, one in zip(some, found, strict=True) if isinstance(one, RpdriveError)}
        ledgers = [Ledgers(self._vault), *(Ledgers(place.vault) for place in self._places)]
        taken = set[PointName]()
        for place in self._places:
            for name in place.vault.point_names():
                wanted = name not in here or name in damaged
                if not wanted or name in taken or _is_gone(ledgers, name):
                    continue
                if self._proven(place.vault, Kind.POINT, str(name)) is not None:
                    taken.add(name)
                    yield CopiedRecord(Kind.POINT, str(name), place, name in damaged)

    def _proven(self, vault: Vault, kind: Kind, name: str) -> bytes | None:
        """The sealed bytes of a record; None unless it opens and, if its kind is signed, an admin did."""
        try:
            data = vault.fetch_sealed(kind, name)
            if kind in SIGNED:
                open_signed(self._vault.keys, self._vault.file.admins, kind, name, data)
            else:
                open_object(self._vault.keys, kind, name, data)
        except _BAD:
            return None
        return data

    def put(self, record: CopiedRecord) -> str:
        """Store it. "", or why it could not be done. Raises StoreError.

        One that does not open is replaced, as vault.json is: that takes the role `admin`.
        """
        store, data = self._vault.store, self._proven(record.place.vault, record.kind, record.name)
        if data is None:
            return f"it is not at {record.place.url} any more"
        if not record.damaged:
            try:
                store.create(record.name, [data])
            except ObjectExists:
                pass  # another repair has put it back
            return ""
        if len(data) > REPLACEABLE:
            return "it is too large to be replaced"
        try:
            _data, tag = store.get_tagged(record.name, max_sealed(record.kind))
            store.replace(record.name, data, tag)
        except (AccessDenied, Damaged) as e:
            return str(e)
        return ""


def _newest(vault: Vault, prefix: str) -> dict[str, str]:
    """The names of the records with the highest number, by their folder."""
    found: dict[str, tuple[int, str]] = {}
    for info in vault.store.list(prefix):
        folder, _slash, last = info.name.rpartition("/")
        number = parsed_number(last)
        if number is not None and number > found.get(folder, (0, ""))[0]:
            found[folder] = number, info.name
    return {folder: name for folder, (_number, name) in found.items()}


def _number(name: str) -> int:
    """The number of a record by its name; 0 of none."""
    return parsed_number(name.rpartition("/")[2]) or 0


def _is_gone(ledgers: Sequence[Ledgers], name: PointName) -> bool:
    """Whether a ledger says that a point is gone; also if one can't be read, as it might say so."""
    try:
        return any(one.of(name.machine, name.item).is_gone(name) for one in ledgers)
    except Damaged:
        return True
