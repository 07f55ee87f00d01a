"""The points of a listing, and which of them ledgers have taken away: the others are shown, and chosen from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from catalog.errors import Damaged
from catalog.format.ledger import ForgottenRow
from catalog.format.records import PointName
from catalog.ledger.records import Ledger, Ledgers
from catalog.ledger.table import PointTable, by_sequence
from catalog.screen.text import local_time
from catalog.vault import Vault

Key = tuple[bytes, bytes]  # machine and item


class Listed:
    """Whole points, in the order of their listing, with the times of their objects in the store (ns).

    A ledger is read when a point of its item is asked for. One that can't be read is noted in `passed_over`, and
    hides nothing.
    """

    def __init__(
        self, vault: Vault, stored: PointTable | Iterable[tuple[PointName, int]], ledgers: Ledgers
    ) -> None:
        self._vault, self.ledgers = vault, ledgers
        self.stored = stored if isinstance(stored, PointTable) else PointTable(stored)
        self._unread: dict[Key, Damaged] = {}

    def ledger(self, machine: bytes, item: bytes) -> Ledger:
        """The ledger of an item; an empty one if it can't be read. Raises StoreError."""
        key = machine, item
        if key not in self._unread:
            try:
                return self.ledgers.of(machine, item)
            except Damaged as e:
                self._unread[key] = e
                self._vault.passed_over.note(f"ledger/{machine.hex()}/{item.hex()}/", e)
        return Ledger(machine, item)

    def readable(self, machine: bytes, item: bytes) -> Ledger:
        """The same, for who changes it. Raises Damaged if it can't be read."""
        ledger = self.ledger(machine, item)
        if (machine, item) in self._unread:
            raise self._unread[machine, item]
        return ledger

    def is_hidden(self, name: PointName) -> bool:
        """Whether a point was forgotten, or is gone."""
        return self.ledger(name.machine, name.item).is_hidden(name)

    def is_gone(self, name: PointName) -> bool:
        return self.ledger(name.machine, name.item).is_gone(name)

    def forgotten(self, name: PointName) -> ForgottenRow | None:
        """What the ledger says of a point that was forgotten and is still there; None for another."""
        ledger = self.ledger(name.machine, name.item)
        return None if ledger.is_gone(name) else ledger.forgotten.get(name.id)

    def tell(self, name: PointName) -> None:
        """Tell the person that a point which was chosen was forgotten, if it was."""
        row = self.forgotten(name)
        if row is not None:
            which = name.id.hex()[:8]
            until = local_time(row.until)[:16]
            keep = f"`rpdrive undelete {which}` keeps it"
            self._vault.tell(f"the recovery point {which} was forgotten, and may go after {until}; {keep}")

    def shown(self, names: Iterable[PointName]) -> Iterator[PointName]:
        """Those of the names that are not hidden: no more ledgers are read than are needed for what is taken."""
        return (name for name in names if not self.is_hidden(name))

    def read_ledgers(self) -> None:
        """Read the ledgers of all items, eight at a time."""
        self.ledgers.read(self.stored.keys_of_items())

    def visible(self) -> list[PointName]:
        """All points that are not hidden, in the order of `Vault.point_names`. Reads the ledgers of all items."""
        self.read_ledgers()
        found = list[PointName]()
        for key in sorted(self.stored.keys_of_items()):
            found += sorted(self.shown(self.stored.of(key)), key=by_sequence)
        return found

    def of_machine(self, machine: bytes) -> Listed:
        """Those of one machine."""
        return Listed(self._vault, (row for row in self.stored.each() if row[0].machine == machine), self.ledgers)


def hiding(vault: Vault) -> Listed:
    """What ledgers of the vault hide, for names that are not kept. 1 listing, and 1 request for each ledger."""
    ledgers = Ledgers(vault)
    ledgers.read(ledgers.keys)
    return Listed(vault, (), ledgers)


def list_points(
    vault: Vault, machine: bytes | None = None, item: bytes | None = None, ledgers: Ledgers | None = None
) -> Listed:
    """The points of a machine, an item or all, without partial ones. 2 listings, at once.

    `ledgers` of the same are listed again: those that are still the newest need not be read again.
    """

    def listed() -> Ledgers:
        if ledgers is None:
            return Ledgers(vault, machine, item)
        ledgers.refresh()
        return ledgers

    with ThreadPoolExecutor(1, "ledgers") as pool:
        found = pool.submit(listed)
        stored = PointTable(vault.stored_points(machine, item))
        return Listed(vault, stored, found.result())
