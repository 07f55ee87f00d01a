"""The admin key's own passphrase: a change comes with a new key, and what counted goes on to count."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.access.admin_key import AdminUnlock
from catalog.access.secrets import SavedAdminKeys
from catalog.access.settings import Settings
from catalog.errors import Locked, NewerFormat, ObjectChanged, Unwritable, WrongPassphrase
from catalog.format.admins import Admin, make_admin, open_admin
from catalog.format.retention import Retention, RetentionRule, policy_folder
from catalog.format.sealed import Kind
from catalog.format.signed import seal_signed
from catalog.policies.records import Policies, add_retention
from catalog.retention.policy import Level
from catalog.signed import SignedRecords
from catalog.signing import FOLDERS, renumbered, replace_admins, signing_key
from catalog.vault import Vault
from catalog.vault_json import read_vault_file
from tests.kit.faults import StopAtStore, Stopped
from tests.kit.vaults import CHEAP, Remote

PIN, OTHER = "the admin's own passphrase", "another one of the admin"
ITEM = b"i" * 16
POLICY, PLACES, SHARD = policy_folder(ITEM), "places/00112233/", "places/00112233.1f/"
LEDGER = f"ledger/{'6d' * 16}/{'69' * 16}/"
ADDED = {POLICY: (Kind.RETENTION, 2), PLACES: (Kind.PLACES, 1), SHARD: (Kind.PLACES, 3), LEDGER: (Kind.LEDGER, 1)}


def content(number: int) -> bytes:
    row = {"number": number, "unknown": [b"\x00\xff", 2**64 - 1, None, {"of": -1}], "by": "\N{SNOWMAN}"}
    return msgspec.msgpack.encode(row)


def numbered_content(data: bytes) -> tuple[int, bytes]:
    """The number in a record's content, and the content as if it were number 0."""
    number = msgspec.msgpack.decode(data)["number"]
    return number, renumbered(data, 0)


class World:
    """A vault with signed records in four folders, the newest of each after older ones and junk."""

    def __init__(self) -> None:
        self.remote = Remote()
        vault = self.remote.vault
        self.first, self.private = signing_key(vault)
        rule = Retention(id=ITEM, number=0, written=1, by="somebody", zone="UTC", daily=RetentionRule(keep=30))
        for _ in range(2):
            level = Policies(vault).level("item", "", ITEM)
            add_retention(vault, level, rule, {})
        for folder, (kind, count) in ADDED.items():
            if folder != POLICY:
                for number in range(count):
                    vault.signed.add(kind, folder, content, self.first, self.private, after=number)
        vault.store.create(SHARD + "00000004", [b"junk"])
        vault.store.create("places/unrelated", [b"junk"])

    def opened(self, *passphrases: str) -> Vault:
        """The vault as another process opens it, which knows these passphrases of admin keys."""
        vault = self.remote.opened()
        left = list(passphrases)

        def unlock(admin: Admin) -> bytes:
            if admin.wrapped:
                return open_admin(vault.keys, admin)
            wrong: Exception = Locked("no passphrase")
            for passphrase in left:
                try:
                    return open_admin(vault.keys, admin, passphrase)
                except WrongPassphrase as e:
                    wrong = e
            raise wrong

        vault.unlock_admin = unlock
        return vault

    def newest(self, vault: Vault) -> dict[str, tuple[int, bytes]]:
        found = {}
        for folder, (kind, _count) in ADDED.items():
            record = vault.signed.newest(kind, folder)
            assert record is not None, f"{folder} has lost its record"
            number, rest = numbered_content(record.content)
            assert number == record.number
            found[folder] = record.number, rest
        return found

    def says(self) -> dict[str, bytes]:
        """What the newest record of each folder says, numbers aside."""
        return {folder: rest for folder, (_number, rest) in self.newest(self.opened()).items()}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings({"RPDRIVE_HOME": str(tmp_path / "home")})


def test_a_passphrase_keeps_out_whoever_has_the_vaults_key(world: World) -> None:
    says, before = world.says(), world.newest(world.opened())
    done = replace_admins(world.opened(), PIN, CHEAP)
    assert done.signed == 4 and done.removed == (world.first.id,)
    vault = world.opened(PIN)
    assert [admin.id for admin in vault.file.admins] == [done.admin.id]
    assert world.says() == says
    numbers = {folder: number for folder, (number, _) in world.newest(vault).items()}
    assert numbers == {POLICY: 3, PLACES: 2, SHARD: 5, LEDGER: 2}, f"one more than in {before}"
    assert signing_key(vault)[1] == done.private
    # A machine with the vault's key has the old private key, from vault/1.json. Its signature counts no longer.
    forged = seal_signed(vault.keys, world.first, world.private, Kind.PLACES, PLACES + "00000003", content(3))
    world.remote.meter.create(PLACES + "00000003", [forged])
    assert world.says() == says
    with pytest.raises(Locked):
        signing_key(world.opened())
    with pytest.raises(WrongPassphrase):
        signing_key(world.opened(OTHER))


def test_a_changed_passphrase_revokes_the_earlier_key(world: World) -> None:
    says = world.says()
    first = replace_admins(world.opened(), PIN, CHEAP)
    second = replace_admins(world.opened(PIN), OTHER, CHEAP)
    assert second.removed == (first.admin.id,) and second.private != first.private
    vault = world.opened(OTHER)
    assert signing_key(vault) == (vault.file.admins[0], second.private) and world.says() == says
    with pytest.raises(ObjectChanged, match="was changed"):
        vault.signed.add(Kind.LEDGER, LEDGER, content, first.admin, first.private, after=3)
    plain = replace_admins(vault, None)
    assert plain.admin.wrapped and signing_key(world.opened())[1] == plain.private and world.says() == says


def interrupted(world: World, call: int, *, after: bool = False) -> bool:
    """Whether a change of the passphrase to PIN stopped at a writing call."""
    vault = world.opened(PIN)
    store = StopAtStore(vault.store, call, after=after, kinds=("create", "replace"))
    stopping = Vault(store, vault.keys, vault.file)
    stopping.unlock_admin = vault.unlock_admin
    with suppress(Stopped):
        replace_admins(stopping, PIN, CHEAP)
    return store.stopped


@pytest.mark.parametrize("after", [False, True])
def test_a_change_may_be_interrupted_anywhere_and_is_run_again(after: bool) -> None:
    for call in range(1, 10):
        world = World()
        says = world.says()
        if not interrupted(world, call, after=after):
            break
        assert world.says() == says
        assert isinstance(signing_key(world.opened(PIN)), tuple)
        done = replace_admins(world.opened(PIN), PIN, CHEAP)
        assert world.opened().file.admins == (done.admin,) and world.says() == says
    assert call == 9  # a copy of vault.json and vault.json itself, twice; and a record in each of four folders


def test_changes_that_are_interrupted_again_and_again_do_not_fill_vault_json(world: World) -> None:
    says = world.says()
    for _ in range(40):
        assert interrupted(world, 3)
    assert len(world.opened().file.admins) <= 17 and world.says() == says
    done = replace_admins(world.opened(PIN), OTHER, CHEAP)
    assert world.opened().file.admins == (done.admin,) and world.says() == says
    too_many = tuple(make_admin(world.remote.vault.keys, os.urandom(32), "now") for _ in range(33))
    with pytest.raises(Unwritable, match="more than 32 keys"):
        world.opened().change_file(lambda file: file.changed(admins=too_many))


def test_what_upkeep_stores_with_the_old_key_meanwhile_is_signed_again(world: World) -> None:
    """A run that began before: its record comes after the others were signed, and before the old key left."""
    vault = world.opened()
    running, now = world.opened(), [0.0]
    again = partial(read_vault_file, running.store)
    running.signed = SignedRecords(
        running.store, running.fetch_sealed, running.keys, running.file, again, clock=lambda: now[0]
    )
    change = vault.change_file
    changes = []

    def slow_change(how: object) -> None:
        changes.append(how)
        if len(changes) == 2:
            new = running.signed.newest(Kind.LEDGER, LEDGER)
            assert new is not None
            row = {"number": 0, "forgotten": ["one"]}
            running.signed.add(
                Kind.LEDGER, LEDGER, lambda n: msgspec.msgpack.encode(row | {"number": n}), world.first,
                world.private, after=new.number,
            )  # fmt: skip
        change(how)  # type: ignore[arg-type]

    vault.change_file = slow_change  # type: ignore[assignment, method-assign]
    done = replace_admins(vault, PIN, CHEAP)
    assert done.signed == 5
    found = world.opened().signed.newest(Kind.LEDGER, LEDGER)
    assert found is not None and msgspec.msgpack.decode(found.content) == {"number": 4, "forgotten": ["one"]}
    # A run that goes on learns of the new key, and can add nothing.
    with pytest.raises(ObjectChanged, match="was added by another run"):
        running.signed.add(Kind.LEDGER, LEDGER, content, world.first, world.private, after=3)
    now[0] += 60
    with pytest.raises(ObjectChanged, match="was changed"):
        running.signed.add(Kind.LEDGER, LEDGER, content, world.first, world.private, after=4)


def test_the_newest_of_two_keys_is_asked_for_and_the_other_if_it_does_not_open(world: World) -> None:
    keys = world.remote.vault.keys
    rows = [make_admin(keys, os.urandom(32), "now", passphrase, kdf=CHEAP) for passphrase in (PIN, OTHER)]
    world.opened().change_file(lambda file: file.changed(admins=tuple(rows)))
    assert signing_key(world.opened(OTHER))[0] == rows[1]
    assert signing_key(world.opened(PIN))[0] == rows[0]
    assert signing_key(world.opened(PIN, OTHER))[0] == rows[1]
    unknown = msgspec.structs.replace(rows[0], slot=None)
    vault = world.opened()
    vault.file = msgspec.structs.replace(vault.file, admins=(unknown,))
    with pytest.raises(NewerFormat):
        signing_key(vault)


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"junk", b"\x81\xa6number", msgspec.msgpack.encode({"number": "1"})]
)
def test_a_malformed_record_stays_what_it_is(data: bytes) -> None:
    assert renumbered(data, 7) == data


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=9) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=9,
)


@given(st.dictionaries(st.text(max_size=9), values, max_size=5), st.integers(0, 2**32), st.integers(0, 2**32))
def test_only_the_number_of_a_record_changes(fields: dict[str, object], before: int, after: int) -> None:
    old = msgspec.msgpack.encode(fields | {"number": before})
    assert msgspec.msgpack.decode(renumbered(old, after)) == fields | {"number": after}
    assert renumbered(old, before) == old, "known or not, every field is written as it was"


def test_every_signed_kind_that_is_no_cache_has_its_folder() -> None:
    assert set(FOLDERS.values()) == {Kind.RETENTION, Kind.PLACES, Kind.LEDGER}


class Asked:
    """Passphrases that count how often they are asked for."""

    def __init__(self, passphrase: str) -> None:
        self.passphrase, self.times = passphrase, 0

    def existing(self, address: str) -> str:
        self.times += 1
        return self.passphrase

    def new(self, prompt: str) -> str:
        raise AssertionError


def test_a_person_is_asked_once_and_not_at_all_if_the_key_is_saved(world: World, settings: Settings) -> None:
    done = replace_admins(world.opened(), PIN, CHEAP)
    keys, asked, saved = world.remote.vault.keys, Asked(PIN), SavedAdminKeys(settings)
    unlock = AdminUnlock(saved, asked, keys, "address")
    assert [unlock(done.admin) for _ in range(3)] == [done.private] * 3 and asked.times == 1
    with pytest.raises(WrongPassphrase, match="not the passphrase of the vault's admin key"):
        AdminUnlock(saved, Asked(OTHER), keys, "address")(done.admin)
    path = saved.save(keys.vault_id, done.private)
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    assert AdminUnlock(saved, Asked(OTHER), keys, "address")(done.admin) == done.private
    # A saved key that is no longer the vault's is no key of this admin: the passphrase is asked for.
    saved.save(keys.vault_id, world.private)
    asked = Asked(PIN)
    assert AdminUnlock(saved, asked, keys, "address")(done.admin) == done.private and asked.times == 1


def test_a_machine_with_a_saved_key_signs_with_no_other(world: World, settings: Settings) -> None:
    """Somebody with the vault's key who may overwrite vault.json names a key that needs no passphrase."""
    done = replace_admins(world.opened(), PIN, CHEAP)
    keys, saved = world.remote.vault.keys, SavedAdminKeys(settings)
    saved.save(keys.vault_id, done.private)
    theirs = make_admin(keys, os.urandom(32), "now")
    world.opened().change_file(lambda file: file.changed(admins=(theirs,)))
    vault = world.opened()
    vault.unlock_admin = AdminUnlock(saved, Asked(PIN), keys, "address")
    with pytest.raises(Locked, match="no longer the one that is saved") as caught:
        signing_key(vault)
    assert "admin lock" in caught.value.advice
    saved.delete(keys.vault_id)
    assert signing_key(vault)[0] == theirs


def test_a_level_is_written_with_the_passphrase(world: World) -> None:
    replace_admins(world.opened(), PIN, CHEAP)
    vault = world.opened(PIN)
    level = Policies(vault).level("item", "", ITEM)
    assert isinstance(level, Level) and level.record is not None
    assert add_retention(vault, level, level.record, level.unknown) == 4
    with pytest.raises(Locked):
        add_retention(world.opened(), level, level.record, level.unknown)
