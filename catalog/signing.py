"""The key that signs records of upkeep: getting it, and putting another in its place. docs/protect.md.

An old copy of vault.json still opens the old private key, under the master key or the old passphrase. So a new
passphrase comes with a new key: the newest record of each folder is signed again, and the old key then leaves
vault.json. From then on its signatures count for nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from catalog.errors import ObjectChanged, WrongPassphrase
from catalog.format.admins import Admin, make_admin, open_admin
from catalog.format.numbers import parsed_number
from catalog.format.sealed import Kind
from catalog.format.signed import signer_of
from catalog.format.slots import KdfParameters
from catalog.format.vaultfile import VaultFile
from catalog.signed import SignedRecord, SignedRecords
from catalog.vault import Vault, now_iso

# Records of marks are signed, too, but they are only a cache: those of an old key are made again.
_MOST_LEFT = 16  # admins that changes left which were interrupted; vault.json has room for 32
FOLDERS = {"policies/": Kind.RETENTION, "places/": Kind.PLACES, "ledger/": Kind.LEDGER}


def signing_key(vault: Vault) -> tuple[Admin, bytes]:
    """An admin of the vault and its private key: one that the master key opens; made, if the vault has no admin.

    `vault.unlock_admin` opens it, and gets its passphrase if it has one. Raises Locked, WrongPassphrase,
    NewerFormat, ObjectChanged or another StoreError.
    """
    admins = vault.file.admins
    for admin in admins:
        if admin.wrapped:
            return admin, vault.unlock_admin(admin)
    wrong: WrongPassphrase | None = None
    for admin in reversed(admins):  # the newest first: a change that was interrupted leaves two
        if admin.slot is not None:
            try:
                return admin, vault.unlock_admin(admin)
            except WrongPassphrase as e:
                wrong = e
    if wrong is not None:
        raise wrong
    if admins:
        return admins[0], open_admin(vault.keys, admins[0])  # raises NewerFormat
    private = os.urandom(32)
    admin = make_admin(vault.keys, private, now_iso())
    vault.change_file(lambda file: file.changed(admins=(*file.admins, admin)))
    return admin, private


class Replaced(NamedTuple):
    """A new admin, its private key, the number of records signed again, and the ids of the keys that left."""

    admin: Admin
    private: bytes
    signed: int
    removed: tuple[bytes, ...]


def replace_admins(vault: Vault, passphrase: str | None, kdf: KdfParameters = KdfParameters()) -> Replaced:
    """Put one new admin in place of all others, its key wrapped under a passphrase, or (None) the master key.

    May be interrupted anywhere and run again: until it is done, the old keys count, too. Runs of upkeep at the same
    time end with ObjectChanged and can be run again. Raises WeakPassphrase, NewerFormat, Damaged, ObjectChanged or
    another StoreError.
    """
    if len(vault.file.admins) > _MOST_LEFT:
        _leave_only(vault, *signing_key(vault))
    private = os.urandom(32)
    admin = make_admin(vault.keys, private, now_iso(), passphrase, kdf=kdf)
    vault.change_file(lambda file: file.changed(admins=(*file.admins, admin)))
    signed, old = _leave_only(vault, admin, private)
    return Replaced(admin, private, signed, old)


def _leave_only(vault: Vault, admin: Admin, private: bytes) -> tuple[int, tuple[bytes, ...]]:
    """Sign again what counts and take other admins out of vault.json. Returns how many records, and their ids."""
    both = vault.file
    old = tuple(one.id for one in both.admins if one.id != admin.id)
    signed = _sign_again(vault, both, admin, private)
    vault.change_file(lambda file: file.changed(admins=tuple(a for a in file.admins if a.id not in old)))
    # What somebody stored with an old key meanwhile would be lost otherwise.
    signed += _sign_again(vault, both, admin, private)
    return signed, old


def _sign_again(vault: Vault, file: VaultFile, admin: Admin, private: bytes) -> int:
    """Sign the newest record of each folder, by the admins of `file`, with this one. Returns how many."""
    records = SignedRecords(vault.store, vault.fetch_sealed, vault.keys, file, lambda: file)
    count = 0
    for kind, folder, numbers in _folders(vault):
        found = records.among(kind, folder, numbers)
        while found is not None and _signer(vault, kind, found) != admin.id:
            try:
                _follow(records, kind, folder, found, admin, private)
                count += 1
                break
            except ObjectChanged:  # a run of upkeep was faster: sign what it wrote
                found = records.newest(kind, folder)
    return count


def _folders(vault: Vault) -> Iterator[tuple[Kind, str, list[int]]]:
    """The folders with signed records, and the numbers in each."""
    for top, kind in FOLDERS.items():
        found: dict[str, list[int]] = {}
        for info in vault.store.list(top):
            folder, _, last = info.name.rpartition("/")
            number = parsed_number(last)
            if number is not None:
                found.setdefault(folder + "/", []).append(number)
        for folder, numbers in found.items():
            yield kind, folder, numbers


def _signer(vault: Vault, kind: Kind, found: SignedRecord) -> bytes:
    return signer_of(vault.keys, kind, found.name, vault.fetch_sealed(kind, found.name))


def _follow(
    records: SignedRecords, kind: Kind, folder: str, found: SignedRecord, admin: Admin, private: bytes
) -> None:
    """Store a record that says the same as `found`, under the next number."""

    def content(number: int) -> bytes:
        return renumbered(found.content, number)

    records.add(kind, folder, content, admin, private, after=found.number)


def renumbered(content: bytes, number: int) -> bytes:
    """A record's content with another `number`, its other fields unchanged, known or not.

    Content that is malformed, or holds no number, is returned as it is: it stays what it was.
    """
    try:
        row: Any = msgspec.msgpack.decode(content)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return content
    if not isinstance(row, dict) or type(row.get("number")) is not int:
        return content
    return msgspec.msgpack.encode(row | {"number": number})
