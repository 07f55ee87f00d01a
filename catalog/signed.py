"""Signed records in a vault: the newest that an admin signed counts. docs/format.md, "Signed records"."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from catalog.errors import (
    Damaged,
    NewerFormat,
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    RpdriveError,
    StoreFull,
)
from catalog.format.admins import Admin
from catalog.format.keys import Keys
from catalog.format.numbers import parsed_number, written_number
from catalog.format.sealed import Kind
from catalog.format.signed import open_signed, seal_signed, signer_of
from catalog.format.vaultfile import VaultFile
from catalog.store.base import Store
from catalog.store.deadline import Deadline

MOST_JUNK = 100  # numbers without a good signature that are passed over
ASK_EVERY = 60.0  # seconds
_log = logging.getLogger("rpdrive.vault")


class SignedRecord(NamedTuple):
    """A record with a good signature."""

    number: int
    name: str
    content: bytes


class StoredRecord(NamedTuple):
    """The number of a record, and when it was stored, by the store's clock (ns since the epoch, UTC)."""

    number: int
    modified: int


class SignedRecords:
    """The signed records of a vault, verified with the keys of its admins in vault.json (`file`). Thread-safe.

    `fetch` gets the sealed bytes of an object, `file_now` vault.json as it is now. That is read if a record is
    signed with an unknown key, but not again within a minute: whoever makes backups may store such records. It is
    also read before a record is signed, if it was last read more than a minute ago.
    """

    def __init__(
        self,
        store: Store,
        fetch: Callable[[Kind, str], bytes],
        keys: Keys,
        file: VaultFile,
        file_now: Callable[[], VaultFile],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._fetch, self._keys, self._file = store, fetch, keys, file
        self._file_now, self._clock = file_now, clock
        self._asked: float | None = None
        self._read = clock()
        self._doubts: dict[str, tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def newest(self, kind: Kind, folder: str) -> SignedRecord | None:
        """The record of a folder (its name with a slash) with the highest number that has a good signature.

        None if there is none. One listing; otherwise as `among`.
        """
        numbers = [parsed_number(info.name.removeprefix(folder)) for info in self._store.list(folder)]
        return self.among(kind, folder, [number for number in numbers if number is not None])

    def among(self, kind: Kind, folder: str, numbers: Iterable[int]) -> SignedRecord | None:
        """As `newest`, among records of these numbers. One request for each record that is opened.

        Raises StoreError, or Damaged if more than 100 numbers are taken by what no admin signed.
        """
        highest = sorted(numbers)[-MOST_JUNK - 1 :]
        unopened: list[str] = []
        found = None
        for number in reversed(highest):
            content = self._open(kind, name := folder + written_number(number), unopened)
            if content is not None:
                found = SignedRecord(number, name, content)
                break
        self._doubts[folder] = tuple(unopened)
        if found is not None:
            return found
        if len(highest) > MOST_JUNK:
            raise _too_much_junk(folder, highest[0], highest[-1])
        return None

    def doubts(self, folder: str) -> tuple[str, ...]:
        """The objects of a folder that were passed over when its newest record was looked for last, and that might
        have been a later one: they don't open. What opens, and no admin signed, is junk for certain."""
        return self._doubts.get(folder, ())

    def add(
        self,
        kind: Kind,
        folder: str,
        content: bytes | Callable[[int], bytes],
        admin: Admin,
        private: bytes,
        *,
        after: int,
    ) -> int:
        """Sign a record, and store it after the newest one. Returns its number. Otherwise as `store_next`."""
        return self.store_next(kind, folder, content, admin, private, after=after).number

    def store_next(
        self,
        kind: Kind,
        folder: str,
        content: bytes | Callable[[int], bytes],
        admin: Admin,
        private: bytes,
        *,
        after: int,
        until: Deadline | None = None,
    ) -> StoredRecord:
        """Sign a record, and store it under the next number after that of the newest one (0: there is none).

        Records that hold their own number are given as a function of it: junk may have taken the next number.
        No attempt begins after `until`. Raises ObjectChanged if somebody else has added a record since, TooLate,
        Damaged if more than 100 numbers are taken by what no admin signed, or another StoreError.
        If the store is full, what it keeps for such records is let go.
        """
        if self._clock() - self._read >= ASK_EVERY:
            self._ask_again()  # the key may have been changed during a long run: what it signs would not count
        if all(admin.id != known.id for known in self._file.admins):
            raise ObjectChanged("the key that signs records of this vault was changed", "run the command again")
        for number in range(after + 1, after + MOST_JUNK + 2):
            name = folder + written_number(number)
            made = content(number) if callable(content) else content
            data = seal_signed(self._keys, admin, private, kind, name, made)
            try:
                return StoredRecord(number, self._create(name, data, until))
            except ObjectExists:
                if self._open(kind, name) is not None:
                    raise ObjectChanged(f"{name} was added by another run", "run the command again") from None
        raise _too_much_junk(folder, after + 1, after + MOST_JUNK + 1)

    def _create(self, name: str, data: bytes, until: Deadline | None) -> int:
        """Store a record. On a full store, what it keeps for this is let go: records are what frees space."""
        try:
            return self._store.create(name, [data], until=until)
        except StoreFull:
            if not self._store.make_room():
                raise
            return self._store.create(name, [data], until=until)

    def _open(self, kind: Kind, name: str, unopened: list[str] | None = None) -> bytes | None:
        """The content of a record; None, after a warning, if it is gone or no admin signed it.

        The name of one that doesn't open is added to `unopened`.
        """
        opened = False
        try:
            data = self._fetch(kind, name)
            signer = signer_of(self._keys, kind, name, data)
            opened = True
            if all(admin.id != signer for admin in self._file.admins):
                self._ask_again()
            return open_signed(self._keys, self._file.admins, kind, name, data)
        except (Damaged, NewerFormat, ObjectNotFound) as e:
            _log.warning("the record %s is passed over: %s", name, e)
            if not opened and unopened is not None:
                unopened.append(name)
            return None

    def _ask_again(self) -> None:
        with self._lock:
            now = self._clock()
            if self._asked is None or now - self._asked >= ASK_EVERY:
                self._asked = self._read = now
                with suppress(RpdriveError):
                    file = self._file_now()
                    file.verify(self._keys)
                    if file.number > self._file.number:  # an older one could name a key that was taken away
                        self._file = file


def _too_much_junk(folder: str, first: int, last: int) -> Damaged:
    names = f"{folder}{written_number(first)} to {written_number(last)}"
    return Damaged(f"none of the records {names} is signed by an admin of this vault", "delete them from the vault")
