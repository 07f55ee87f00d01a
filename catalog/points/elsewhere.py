"""How far a place of a vault is behind what this machine has seen at another place of it: a note, and no fault."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from catalog.access.place import VaultPlaces
from catalog.access.session import Session
from catalog.format.records import PointName
from catalog.points.seen import Seen
from catalog.screen.text import counted, iso_time, local_time
from catalog.vault import Vault


class Behind(NamedTuple):
    """The item that is furthest behind: the newest point here (`time` in ns) and the number seen `at` a place.

    `number` and `time` are 0 if nothing of the item is here. `items` is how many are behind that place.
    """

    at: str
    number: int
    time: int
    there: int
    items: int
    is_copy: bool

    def __str__(self) -> str:
        what = "this copy" if self.is_copy else "this place"
        has = f"has recovery points up to {local_time(self.time)} (number {self.number})"
        if not self.number:
            has = "has no recovery point of an item"
        more = f"; {counted(self.items - 1, 'more item')} behind" if self.items > 1 else ""
        return f"{what} {has}; this machine has seen number {self.there} at {self.at}{more}"

    def json(self) -> dict[str, Any]:
        time = iso_time(self.time) if self.number else None
        return {"at": self.at, "number": self.number, "time": time, "there": self.there, "items": self.items}


def behind(session: Session, vault: Vault, names: Iterable[PointName]) -> Behind | None:
    """How far the place with these points is behind another one; None if it is not. Sends no request.

    `names` are all that are listed, or all of some items: other items don't count. They are looked at only if this
    machine has not seen as much here as elsewhere.
    """
    if session.also is not None and session.also.is_away:
        return None  # another place is read, which says so
    state = session.settings.where("state")
    seen = Seen(state, vault)
    elsewhere, own = seen.elsewhere(), seen.highest()
    if all(own.get(key, 0) >= n for highest in elsewhere.values() for key, n in highest.items()):
        return None  # before anything is listed
    here: dict[tuple[bytes, bytes], tuple[int, int]] = {}
    for name in names:
        if not name.partial:
            key = name.machine, name.item
            here[key] = max(here.get(key, (0, 0)), (name.sequence, name.time))
    places, found = VaultPlaces(state, vault.id), list[Behind]()
    for state_id, highest in elsewhere.items():
        at = places.address_of(state_id) or "another place"
        rows = [(n - here[key][0], n, *here[key]) for key, n in highest.items() if key in here and n > here[key][0]]
        if rows:
            _lag, there, number, time = max(rows)
            found.append(Behind(at, number, time, there, len(rows), vault.file.copy is not None))
    return max(found, key=lambda one: (one.items, one.there - one.number), default=None)


def behind_here(session: Session, vault: Vault) -> Behind | None:
    """The same for all items of the vault. One listing, if this machine has seen more elsewhere."""
    return behind(session, vault, vault.each_point_name())
