"""Signed records: the newest that an admin signed counts, and nobody else can make or replace one."""

from __future__ import annotations

import json
import logging
import os
from functools import partial

import pytest
from msgspec.structs import replace

from catalog.errors import Damaged, Locked, NewerFormat, ObjectChanged, WrongPassphrase
from catalog.format.admins import Admin, make_admin, open_admin
from catalog.format.sealed import Kind, seal_object
from catalog.format.signed import SIGNED, open_signed, seal_signed
from catalog.format.vaultfile import MAX_VAULT_FILE, VaultFile
from catalog.signed import SignedRecord, SignedRecords
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import VAULT_FILE, Vault, open_vault
from catalog.vault_json import read_vault_file
from tests.kit.vaults import CHEAP, PASSPHRASE, new_vault

FOLDER = "places/00112233/"


class World:
    """A new vault, whose only admin's key is wrapped under the master key."""

    def __init__(self) -> None:
        self.store = MeteredStore(MemoryStore())
        self.vault: Vault = new_vault(self.store)
        (self.admin,) = self.vault.file.admins
        self.private = open_admin(self.vault.keys, self.admin)
        self.records = self.vault.signed

    def add(self, content: bytes, after: int) -> int:
        return self.records.add(Kind.PLACES, FOLDER, content, self.admin, self.private, after=after)

    def newest(self) -> SignedRecord | None:
        return self.records.newest(Kind.PLACES, FOLDER)

    def junk(self, number: int, data: bytes = b"junk") -> None:
        self.store.create(f"{FOLDER}{number:08d}", [data])

    def requests(self) -> int:
        return self.store.snapshot().requests


@pytest.fixture
def world() -> World:
    return World()


def test_records_follow_each_other(world: World) -> None:
    assert world.newest() is None
    assert world.add(b"first", 0) == 1
    assert world.newest() == (1, FOLDER + "00000001", b"first")
    assert world.add(b"second", 1) == 2
    before = world.requests()
    assert world.newest() == (2, FOLDER + "00000002", b"second")
    assert world.requests() - before == 2


def test_of_two_writers_one_succeeds(world: World) -> None:
    world.add(b"first", 0)
    assert world.add(b"mine", 1) == 2
    with pytest.raises(ObjectChanged, match="00000002 was added by another run"):
        world.add(b"theirs", 1)
    assert world.newest() == (2, FOLDER + "00000002", b"mine")


def test_junk_is_passed_over(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.add(b"first", 0)
    stranger = os.urandom(32)
    keys = world.vault.keys
    forged = seal_signed(
        keys, make_admin(keys, stranger, ""), stranger, Kind.PLACES, f"{FOLDER}00000002", b"forged"
    )
    world.junk(2, forged)
    world.junk(3)
    world.junk(2**63 - 1)
    world.store.create(FOLDER + "9223372036854775808", [b"no name of a record"])
    world.store.create(FOLDER + "000000004", [b"no name of a record"])
    with caplog.at_level(logging.WARNING):
        assert world.newest() == (1, FOLDER + "00000001", b"first")
    assert f"the record {FOLDER}00000002 is passed over" in caplog.text
    assert world.add(b"second", 1) == 4
    assert world.newest() == (4, FOLDER + "00000004", b"second")


def test_a_hundred_junk_records_are_passed_over_and_one_more_is_an_error(world: World) -> None:
    world.add(b"first", 0)
    for number in range(2, 102):
        world.junk(number)
    assert world.newest() == (1, FOLDER + "00000001", b"first")
    world.junk(102)
    named = f"none of the records {FOLDER}00000002 to 00000102 is signed by an admin of this vault"
    with pytest.raises(Damaged, match=named):
        world.newest()
    with pytest.raises(Damaged, match=named):
        world.add(b"second", 1)


def test_a_record_replayed_under_a_later_number_is_no_record(world: World) -> None:
    world.add(b"first", 0)
    world.junk(2, world.store.get(FOLDER + "00000001", 1 << 20))
    keys = world.vault.keys
    signed = seal_signed(keys, world.admin, world.private, Kind.PLACES, FOLDER + "00000001", b"first")
    content = open_signed(keys, [world.admin], Kind.PLACES, FOLDER + "00000001", signed)
    assert content == b"first"
    newest = world.newest()
    assert newest is not None and newest.number == 1


@pytest.mark.parametrize("kind", sorted(SIGNED))
def test_a_sealed_object_alone_is_no_signed_record(world: World, kind: Kind) -> None:
    name = "a/name"
    sealed = seal_object(world.vault.keys, kind, name, b"content")
    with pytest.raises(Damaged):
        open_signed(world.vault.keys, [world.admin], kind, name, sealed)
    signed = seal_signed(world.vault.keys, world.admin, world.private, kind, name, b"content")
    assert open_signed(world.vault.keys, [world.admin], kind, name, signed) == b"content"
    with pytest.raises(Damaged, match="a/name is not signed by an admin of this vault"):
        open_signed(world.vault.keys, [], kind, name, signed)


# --- admins ------------------------------------------------------------------------------------------------------


def test_a_new_vault_has_an_admin_that_the_master_key_opens(world: World) -> None:
    row = json.loads(world.store.get(VAULT_FILE, 1 << 20))
    assert [(a["algorithm"], a["kdf"]) for a in row["admins"]] == [("ed25519", "master")]
    assert (row["soft_delete_days"], row["immutable"]) == (14, None)
    again = open_vault(world.store, passphrase=PASSPHRASE)
    assert open_admin(again.keys, again.file.admins[0]) == world.private
    assert len(world.private) == 32


def test_admins_survive_a_change_of_the_passphrase(world: World) -> None:
    world.add(b"first", 0)
    world.vault.change_passphrase("another passphrase of many words", CHEAP)
    again = open_vault(world.store, passphrase="another passphrase of many words")
    assert again.file.admins == (world.admin,)
    assert again.signed.newest(Kind.PLACES, FOLDER) is not None


def test_an_admin_under_a_passphrase_of_its_own(world: World) -> None:
    keys, private = world.vault.keys, os.urandom(32)
    admin = make_admin(keys, private, "now", "the admin's own passphrase", kdf=CHEAP)
    assert Admin.from_json(admin.to_json()) == admin
    assert open_admin(keys, admin, "the admin's own passphrase") == private
    with pytest.raises(WrongPassphrase):
        open_admin(keys, admin, PASSPHRASE)
    with pytest.raises(Locked):
        open_admin(keys, admin)


def test_a_file_with_admins_of_later_kinds_opens_and_is_not_replaced(world: World) -> None:
    def with_admin(**fields: object) -> VaultFile:
        row = json.loads(world.vault.file.encode(world.vault.keys))
        row["admins"].append(world.admin.to_json() | fields)
        return VaultFile.decode(json.dumps(row).encode())

    later = with_admin(algorithm="later", id="?", public="?")
    assert later.admins == (world.admin,)
    unknown = make_admin(world.vault.keys, os.urandom(32), "now").to_json()
    wrapped = with_admin(**unknown | {"kdf": "later"})
    assert len(wrapped.admins) == 2
    for file in (later, wrapped):
        with pytest.raises(NewerFormat, match="can't change the file"):
            file.encode(world.vault.keys)


def renewed(world: World, *, number: int) -> tuple[Admin, bytes]:
    """Give vault.json another admin, as another machine would. Returns it with its private key."""
    private = os.urandom(32)
    admin = make_admin(world.vault.keys, private, "2026-01-01T00:00:00+00:00")
    data, tag = world.store.get_tagged(VAULT_FILE, MAX_VAULT_FILE)
    file = replace(VaultFile.decode(data), number=number, admins=(admin,), mac=b"")
    world.store.replace(VAULT_FILE, file.encode(world.vault.keys), tag)
    return admin, private


def test_an_open_vault_learns_of_a_new_admin(world: World) -> None:
    now = [0.0]
    file = world.vault.file
    again = partial(read_vault_file, world.store)
    world.records = SignedRecords(
        world.store, world.vault.fetch_sealed, world.vault.keys, file, again, clock=lambda: now[0]
    )
    world.add(b"old admin's", 0)
    admin, private = renewed(world, number=file.number + 1)
    other = open_vault(world.store, passphrase=PASSPHRASE).signed
    other.add(Kind.PLACES, FOLDER, b"new admin's", admin, private, after=1)
    before = world.requests()
    assert world.newest() == (2, FOLDER + "00000002", b"new admin's")
    assert world.requests() - before == 3  # a listing, the record, vault.json

    stranger = make_admin(world.vault.keys, os.urandom(32), "2026-01-01T00:00:00+00:00")
    forged = seal_signed(
        world.vault.keys,
        stranger,
        open_admin(world.vault.keys, stranger),
        Kind.PLACES,
        FOLDER + "00000003",
        b"forged",
    )
    world.junk(3, forged)
    for now[0], requests in ((59.0, 3), (60.0, 4), (119.0, 3), (120.0, 4)):  # vault.json at most once a minute
        before = world.requests()
        assert world.newest() == (2, FOLDER + "00000002", b"new admin's")
        assert world.requests() - before == requests


def test_an_older_vault_json_takes_no_admin_away_and_brings_none_back(world: World) -> None:
    world.add(b"first", 0)
    admin, private = renewed(world, number=world.vault.file.number)
    name = FOLDER + "00000002"
    world.junk(2, seal_signed(world.vault.keys, admin, private, Kind.PLACES, name, b"of an older admin"))
    assert world.newest() == (1, FOLDER + "00000001", b"first")
