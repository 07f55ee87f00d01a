"""Reads and writes the ledgers of an open vault."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from catalog.author import who
from catalog.errors import Damaged, ObjectChanged, RpdriveError
from catalog.format.admins import Admin
from catalog.format.ledger import decode_ledger, encode_ledger, ledger_folder, ledger_named
from catalog.format.numbers import written_number
from catalog.format.sealed import Kind
from catalog.ledger.state import Ledger
from catalog.store.deadline import Deadline
from catalog.vault import Vault

__all__ = ["Ledger", "Ledgers", "Signer"]

Key = tuple[bytes, bytes]  # machine and item
Signer = tuple[Admin, bytes]  # an admin, and its private key
_PARALLEL = 8  # requests at once
_TRIES = 20  # of writing a ledger, while others are faster
_ADVICE = "points of this item can't be forgotten or removed; a newer version of rpdrive may be able to read it"


class Ledgers:
    """The newest ledgers of a vault, of a machine or of an item. Not thread-safe.

    One listing, when it is made and at each `refresh`, and one request for each ledger that is asked for and new.
    """

    def __init__(self, vault: Vault, machine: bytes | None = None, item: bytes | None = None) -> None:
        self._vault = vault
        self._prefix = "ledger/"
        if machine is not None:
            self._prefix = ledger_folder(machine, item) if item is not None else f"ledger/{machine.hex()}/"
        self._numbers: dict[Key, dict[int, int]] = {}  # with the times of their objects, by the store's clock (ns)
        self._read: dict[Key, tuple[list[int], Ledger]] = {}
        self.refresh()

    def refresh(self) -> bool:
        """List the ledgers again; those that are still the newest are not read again. Whether others are there."""
        before, self._numbers = self._numbers, self._listed(self._prefix)
        return _only_numbers(self._numbers) != _only_numbers(before)

    def _listed(self, prefix: str) -> dict[Key, dict[int, int]]:
        found: dict[Key, dict[int, int]] = {}
        for info in self._vault.store.list(prefix):
            named = ledger_named(info.name)
            if named is not None:
                found.setdefault(named[:2], {})[named[2]] = info.modified
        return found

    @property
    def keys(self) -> list[Key]:
        """The machines and items that may have a ledger."""
        return list(self._numbers)

    def of(self, machine: bytes, item: bytes) -> Ledger:
        """The ledger of an item; one with the number 0 if it has none.

        Raises StoreError, and Damaged if the newest that an admin signed is malformed (an older one does not count
        in its place: what it says of the points is not true any more), or if nobody signed any.
        """
        key = machine, item
        numbers = [*self._numbers.get(key, ())]
        known = self._read.get(key)
        if known is not None and known[0] == numbers:
            return known[1]
        ledger = self._opened(key, numbers)
        self._read[key] = numbers, ledger
        return ledger

    def doubt(self, machine: bytes, item: bytes) -> Damaged | None:
        """Why what `of` returned may not be the newest word: a later record may be there, and does not open."""
        doubts = self._vault.signed.doubts(ledger_folder(machine, item)) if (machine, item) in self._numbers else ()
        return doubtful(doubts[0]) if doubts else None

    def old_names(self, machine: bytes, before: int, least: int) -> list[str]:
        """Ledgers of a machine, and junk among them, that say nothing any more and were stored before a time (ns).

        Of each item the newest `least` are not among them. Raises StoreError.
        """
        found = []
        for key in [key for key in self._numbers if key[0] == machine]:
            try:
                newest = self.of(*key).number
            except Damaged:
                continue
            stored = self._numbers[key]
            old = sorted(number for number in stored if number <= newest)[:-least]
            found += [ledger_folder(*key) + written_number(n) for n in old if stored[n] < before]
        return found

    def read(self, keys: Iterable[Key]) -> None:
        """Read the ledgers of these items ahead, eight at a time. What is wrong with one, `of` raises again."""

        def read(key: Key) -> None:
            with suppress(RpdriveError):
                self.of(*key)

        wanted = [key for key in keys if key in self._numbers]
        if len(wanted) > 1:
            with ThreadPoolExecutor(_PARALLEL, "ledgers") as pool:
                list(pool.map(read, wanted))

    def _opened(self, key: Key, numbers: list[int]) -> Ledger:
        found = self._vault.signed.among(Kind.LEDGER, ledger_folder(*key), numbers) if numbers else None
        if found is None:
            return Ledger(*key)
        try:
            return Ledger.of(*decode_ledger(found.content, found.name))
        except Damaged as e:
            raise Damaged(str(e), _ADVICE) from e

    def change(
        self,
        machine: bytes,
        item: bytes,
        change: Callable[[Ledger], Ledger],
        signer: Signer,
        now: int,
        *,
        despite: bool = False,
        until: Deadline | None = None,
    ) -> Ledger:
        """Store what `change` makes of an item's newest ledger after that one; nothing, if it changes nothing.

        If somebody else was faster, `change` is called again with what is there then. `now` is the store's time
        (ns); no attempt begins after `until`. Returns the newest ledger. Raises as `of`, what `change` raises,
        ObjectChanged if others were faster again and again, TooLate, or another StoreError; and, but `despite` it,
        Damaged if a later record may be there that does not open: what it says would be lost for good.
        """
        for left in reversed(range(_TRIES)):
            before = self.of(machine, item)
            doubt = None if despite else self.doubt(machine, item)
            if doubt is not None:
                raise doubt
            after = change(before)
            if after == before:
                return before
            try:
                return self._added(before, after, signer, now, until)
            except ObjectChanged:
                if not left:
                    raise
                folder = ledger_folder(machine, item)
                self._numbers[machine, item] = self._listed(folder).get((machine, item), {})
        raise AssertionError

    def _added(self, before: Ledger, after: Ledger, signer: Signer, now: int, until: Deadline | None) -> Ledger:
        key = after.machine, after.item
        stored = self._vault.signed.store_next(
            Kind.LEDGER,
            ledger_folder(*key),
            lambda number: encode_ledger(after.record(number, now, who()), after.unknown),
            *signer,
            after=before.number,
            until=until,
        )
        after = after._replace(number=stored.number)
        self._numbers.setdefault(key, {})[stored.number] = now
        self._read[key] = [*self._numbers[key]], after
        return after


def doubtful(name: str) -> Damaged:
    """The error for an object that may be a later record than the one that counts."""
    return Damaged(
        f"{name} does not open, and may say what was forgotten, brought back or held last",
        "bring that object back from a copy of the vault; if it is lost, or junk, delete it and run this again",
    )


def _only_numbers(listed: dict[Key, dict[int, int]]) -> dict[Key, list[int]]:
    return {key: [*some] for key, some in listed.items()}
