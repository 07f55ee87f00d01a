"""vault.json is put back from a copy that the passphrase opens, and a good one is never touched."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from catalog.errors import NewerFormat, NoVault, ObjectChanged, WrongPassphrase
from catalog.format.admins import make_admin
from catalog.format.vaultfile import VaultFile
from catalog.repair.vault_file import LostFile, find_copy, find_spare, put_back, write_spare
from catalog.store.memory import MemoryStore
from catalog.vault import open_vault
from tests.kit.faults import RefusingStore
from tests.kit.vaults import CHEAP, PASSPHRASE, new_vault

OTHER = "another passphrase of many words"


class World:
    """A vault whose passphrase was changed once: two copies of vault.json, the second is the newest."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        vault = new_vault(self.memory)
        self.keys, self.id = vault.keys, vault.id
        vault.change_passphrase(OTHER, CHEAP)
        self.good = self.memory.objects["vault.json"]
        self.asked = 0

    def passphrase(self) -> str:
        self.asked += 1
        return OTHER

    def find(self, vault_id: bytes | None = None) -> LostFile | None:
        return find_copy(self.memory, self.passphrase, vault_id)

    def changed(self, **fields: object) -> bytes:
        """The good file with other values, whose MAC doesn't fit."""
        return json.dumps({**json.loads(self.good), **fields}).encode()

    def assert_heals(self, number: int = 2) -> LostFile:
        lost = self.find()
        assert lost is not None and lost.number == number
        put_back(self.memory, lost)
        assert self.memory.objects["vault.json"] == self.memory.objects[f"vault/{number}.json"]
        return lost


@pytest.fixture
def world() -> World:
    return World()


def test_a_good_one_is_left_alone(world: World) -> None:
    assert world.find() is None
    assert world.memory.objects["vault.json"] == world.good


def test_a_missing_one(world: World) -> None:
    del world.memory.objects["vault.json"]
    lost = world.assert_heals()
    assert "missing" in lost.why and not lost.new_admins and world.asked == 1
    open_vault(world.memory, passphrase=OTHER)


@pytest.mark.parametrize(
    "bad",
    [b"", b"junk", b'{"format": "rpdrive vault"}', None, {"soft_delete_days": 30}, {"created": "then"}],
    ids=str,
)
def test_a_damaged_one(world: World, bad: bytes | dict[str, object] | None) -> None:
    """Cut, of another form, or with a MAC that does not fit."""
    cut = world.good[:-20] if bad is None else bad
    data = world.changed(**cut) if isinstance(cut, dict) else cut
    world.memory.objects["vault.json"] = data
    world.assert_heals()
    open_vault(world.memory, passphrase=OTHER)


def test_a_slot_that_rots_looks_like_another_passphrase(world: World) -> None:
    """Its own copy tells the two apart."""
    slots = json.loads(world.good)["slots"]
    slots[0]["commitment"] = "A" * 43 + "="
    world.memory.objects["vault.json"] = world.changed(slots=slots)
    assert "differs from its own copy" in world.assert_heals().why


def test_a_wrong_passphrase_is_no_damage(world: World) -> None:
    with pytest.raises(WrongPassphrase):
        find_copy(world.memory, lambda: PASSPHRASE)
    del world.memory.objects["vault.json"]
    lost = find_copy(world.memory, lambda: PASSPHRASE)
    assert lost is not None and lost.number == 1, "an older copy opens with the passphrase of then"
    with pytest.raises(WrongPassphrase):
        find_copy(world.memory, lambda: "a passphrase that nobody has set")


def test_a_newer_one_is_not_replaced(world: World) -> None:
    world.memory.objects["vault.json"] = world.changed(version=2)
    with pytest.raises(NewerFormat):
        world.find()


def test_copies_that_do_not_open_are_passed_over(world: World) -> None:
    del world.memory.objects["vault.json"]
    world.memory.objects["vault/9.json"] = b"junk"
    world.memory.objects["vault/8.json"] = world.changed(number=8)
    world.memory.objects["vault/08.json"] = world.good
    other = MemoryStore()
    new_vault(other).change_passphrase(OTHER, CHEAP)
    world.memory.objects["vault/7.json"] = other.objects["vault.json"]
    lost = find_copy(world.memory, world.passphrase, world.id)
    assert lost is not None and lost.number == 2


def test_a_copy_with_another_admin_is_named(world: World) -> None:
    """Whoever makes backups can store such a copy: a person has to look."""
    file = VaultFile.decode(world.good)
    forged = replace(
        file, admins=(*file.admins, make_admin(world.keys, bytes(range(32)), "now")), number=3, mac=b""
    )
    world.memory.objects["vault/3.json"] = forged.encode(world.keys)
    del world.memory.objects["vault.json"]
    lost = world.find()
    assert lost is not None and (lost.number, lost.new_admins) == (3, True)


def test_two_copies_with_a_foreign_admin_don_t_vouch_for_each_other(world: World) -> None:
    file, admin = VaultFile.decode(world.good), make_admin(world.keys, bytes(range(32)), "now")
    for number in (3, 4):
        forged = replace(file, admins=(admin,), number=number, mac=b"")
        world.memory.objects[f"vault/{number}.json"] = forged.encode(world.keys)
    del world.memory.objects["vault.json"]

    def new_admins(*known: str) -> bool:
        lost = find_copy(world.memory, world.passphrase, None, lambda vault_id: known)
        assert lost is not None and lost.number == 4
        return lost.new_admins

    assert new_admins()
    assert new_admins(file.admins[0].id.hex())
    assert not new_admins(admin.id.hex()), "a person accepted it on this machine"
    # Junk of another vault, or of one who has no key, vouches for nothing and doubts nothing.
    for number in (1, 2):
        world.memory.objects[f"vault/{number}.json"] = world.changed(admins=[])
    assert not new_admins()


def test_nothing_to_put_back(world: World) -> None:
    world.memory.objects.clear()
    with pytest.raises(NoVault, match="no copy"):
        world.find()
    assert world.asked == 0
    world.memory.objects["vault/1.json"] = b"junk"
    with pytest.raises(NoVault, match="can be read"):
        world.find()


def test_somebody_else_was_faster(world: World) -> None:
    """What is there by then is not replaced."""
    world.memory.objects["vault.json"] = b"junk"
    lost = world.find()
    assert lost is not None
    world.memory.objects["vault.json"] = world.good + b" "
    with pytest.raises(ObjectChanged):
        put_back(world.memory, lost)
    del world.memory.objects["vault.json"]
    lost = world.find()
    assert lost is not None
    world.memory.objects["vault.json"] = world.good + b" "
    with pytest.raises(NoVault, match="there again"):
        put_back(world.memory, lost)
    assert world.memory.objects["vault.json"] == world.good + b" "


@pytest.mark.parametrize("harm", [b"", b"{}", None])
def test_the_copy_is_made_anew(world: World, harm: bytes | None) -> None:
    assert find_spare(world.memory, world.keys) is None
    if harm is None:
        del world.memory.objects["vault/2.json"]
    else:
        world.memory.objects["vault/2.json"] = harm
    spare = find_spare(world.memory, world.keys)
    assert spare is not None and spare.name == "vault/2.json"
    write_spare(world.memory, spare)
    assert world.memory.objects["vault/2.json"] == world.good
    assert find_spare(world.memory, world.keys) is None
    world.memory.objects["vault.json"] = b"{}"
    world.assert_heals()


def test_no_copy_is_made_of_what_is_damaged_nor_in_place_of_a_good_one(world: World) -> None:
    other = VaultFile.decode(world.good).changed(soft_delete_days=30).encode(world.keys)
    world.memory.objects["vault/2.json"] = other
    assert find_spare(world.memory, world.keys) is None
    world.memory.objects["vault/2.json"] = world.memory.objects["vault/1.json"]
    assert find_spare(world.memory, world.keys) is not None
    del world.memory.objects["vault/2.json"]
    world.memory.objects["vault.json"] = world.changed(vault_id="00" * 16)
    assert find_spare(world.memory, world.keys) is None


def test_a_copy_out_of_reach_stops_nothing(world: World) -> None:
    store = RefusingStore(world.memory, prefix="vault/2.json")
    assert find_spare(store, world.keys) is None
