"""Whether the signed records of a machine are the newest ones: nothing is taken away by the word before the last.

A record that was lost, or does not open, may be the one that brought a point back, held it, or found a block alive
again. What opens and no admin signed is junk for certain, and is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from catalog.format.ledger import ledger_folder
from catalog.format.numbers import written_number
from catalog.format.places import PlacesRecord, places_folder
from catalog.format.records import Machine, PointName
from catalog.format.retention import policy_folder
from catalog.ledger.records import Ledgers
from catalog.points.health import Health
from catalog.policies.records import Policies
from catalog.prune.notes import Notes
from catalog.prune.records import Newest
from catalog.prune.state import Key
from catalog.vault import Vault

ADVICE = (
    "bring that object back from a copy of the vault; if it is lost, or junk, delete it, "
    "and confirm with --yes that the record before it counts"
)


class Words(NamedTuple):
    """The newest records that a run goes by: their numbers (0: there is none), by folder."""

    vault: Vault
    numbers: dict[str, int]

    @classmethod
    def of(
        cls,
        vault: Vault,
        series: bytes,
        newest: Newest,
        ledgers: Mapping[bytes, Ledgers],
        policies: Policies,
        stored: Iterable[PointName],
    ) -> Words:
        """Those of the `ledgers` of machines (ids), of their policies, and of a series. Raises as `Ledgers.of`."""
        numbers = {places_folder(series): newest.number}
        keys = {(name.machine, name.item) for name in stored if name.machine in ledgers}
        keys.update(key for some in ledgers.values() for key in some.keys)
        levels = [policies.of_vault(), *(policies.level("machine", "", machine) for machine in sorted(ledgers))]
        for machine, item in sorted(keys):
            numbers[ledger_folder(machine, item)] = ledgers[machine].of(machine, item).number
            levels.append(policies.level("item", "", item))
        numbers |= {policy_folder(level.id): level.number for level in levels}
        return cls(vault, numbers)

    def doubt(self, notes: Notes) -> str | None:
        """Why one of them may not be the newest; None if all are, as far as this machine can know."""
        return next(self._doubts(notes), None)

    def _doubts(self, notes: Notes) -> Iterator[str]:
        for folder, number in self.numbers.items():
            for name in self.vault.signed.doubts(folder):
                yield f"{name} does not open, and may be the newest record of its folder"
            noted = notes.get(_note(folder)) or ""
            if noted.isdecimal() and int(noted) > number:
                yield f"{folder}{written_number(int(noted))} was there, and vanished"

    def keep(self, notes: Notes) -> None:
        """Note them for the next run on this machine."""
        for folder, number in self.numbers.items():
            if number:
                notes.set(_note(folder), str(number))


def doubtful_packs(
    vault: Vault, own: Iterable[bytes], machines: Mapping[bytes, Machine], record: PlacesRecord | None
) -> frozenset[Key]:
    """Packs with blocks that a check has found bad where they are now: their own objects may have them whole.

    Asked for only if a pack is about to go whose blocks are in carriers: a listing, and a request for each series
    of the machines `own`. Raises StoreError.
    """
    moved = {(row.kind, row.pack) for row in record.moved} if record is not None else set()
    if record is None or all((row.kind, row.object) not in moved for row in record.leaving):
        return frozenset()
    return frozenset(Key(*one) for one in Health.of(vault, own, machines).bad_packs())


def _note(folder: str) -> str:
    return f"newest {folder}"
