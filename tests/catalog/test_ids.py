"""Names and ids of objects: what they say, and that a name alone proves nothing."""

from __future__ import annotations

import pytest

from catalog.errors import Damaged, NewerFormat
from catalog.format.blocks import PackKind, encode_frame, open_block, seal_block
from catalog.format.packs import PackBuilder, new_pack_id, pack_name, pack_named, series_folder
from catalog.format.records import Item, ItemName, Machine, MachineName, PointName
from catalog.format.sealed import Kind
from catalog.machines.registry import rename
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.vault import Vault
from tests.kit.format_values import KEYS
from tests.kit.vaults import new_vault

MACHINE, ITEM = bytes.fromhex("00112233445566778899aabbccddeeff"), b"i" * 16
POINT = f"points/{MACHINE.hex()}/{ITEM.hex()}/20260102T030405Z-%s-{bytes(16).hex()}"


def a_machine(name: str = "server", machine: bytes = MACHINE) -> Machine:
    return Machine(id=machine, name=name, hostname="server", system="Linux", created=1)


def an_item(item: bytes = ITEM, machine: bytes = MACHINE) -> Item:
    return Item(id=item, machine=machine, name="home", paths=[b"/home"], created=1)


def test_a_packs_id_says_its_series_and_the_generation_of_its_key() -> None:
    first, second = (PackBuilder(KEYS, PackKind.TREE, MACHINE) for _ in range(2))
    assert first.id[:5] == second.id[:5] == MACHINE[:4] + b"\0"
    assert first.id[5:] != second.id[5:]
    text = first.id.hex()
    assert first.name == f"meta/00112233/{text[10:12]}/{text}"
    assert first.name.startswith(series_folder(PackKind.TREE, MACHINE))


def test_a_packs_name_is_read_back() -> None:
    pack = new_pack_id(MACHINE)
    name = pack_name(PackKind.DATA, pack)
    assert pack_named(name) == pack
    other = new_pack_id(bytes(16)).hex()
    for strange in (
        name.upper().replace("PACKS", "packs"),
        name + "0",
        "x" + name,
        name.replace("packs/0", "packs/1"),
        f"packs/{pack.hex()[:2]}/{pack.hex()}",
        f"packs/00112233/{other[10:12]}/{other}",
    ):
        assert pack_named(strange) is None


def test_a_pack_of_a_later_key_is_newer_and_not_damaged() -> None:
    pack = MACHINE[:4] + b"\1" + bytes(11)
    sealed = seal_block(KEYS, PackKind.DATA, pack, 8, encode_frame(b"content"))
    with pytest.raises(NewerFormat, match="sealed with key 1"):
        open_block(KEYS, PackKind.DATA, pack, 8, sealed)


@pytest.mark.parametrize(
    ("number", "parsed"),
    [
        ("00000001", 1),
        ("99999999", 99999999),
        ("100000000", 10**8),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("18446744073709551615", None),
        ("000000001", None),
        ("1", None),
        ("\u0661" * 8, None),
    ],
)
def test_numbers_in_names(number: str, parsed: int | None) -> None:
    point = PointName.parse(POINT % number)
    machine = MachineName.parse(f"machines/{MACHINE.hex()}/{number}")
    item = ItemName.parse(f"items/{MACHINE.hex()}/{ITEM.hex()}/{number}")
    assert (point and point.sequence) == (machine and machine.version) == (item and item.version) == parsed
    for name in (point, machine, item):
        assert name is None or str(name).endswith(number) or str(name) == POINT % number


def test_items_are_listed_for_each_machine() -> None:
    store = MeteredStore(MemoryStore())
    vault = new_vault(store)
    for n in range(5):
        vault.add_item(an_item(bytes([n]) * 16, bytes([n]) * 16))
    vault.add_item(an_item())
    fresh = Vault(store, vault.keys, vault.file)
    before = store.snapshot()
    assert fresh.items(MACHINE) == {ITEM: an_item()}
    assert (store.snapshot() - before).requests == 2
    assert len(fresh.all_items()) == 6


JUNK = ["99999999", "100000000", "9223372036854775807", "00000002"]


def test_records_that_do_not_open_are_passed_over() -> None:
    store = MemoryStore()
    vault = new_vault(store)
    vault.add_machine(a_machine())
    vault.add_item(an_item())
    stranger = bytes(range(16))
    for number in JUNK:
        store.create(f"machines/{MACHINE.hex()}/{number}", [b"junk"])
        store.create(f"items/{MACHINE.hex()}/{ITEM.hex()}/{number}", [b"junk"])
    store.create(f"machines/{stranger.hex()}/00000001", [b"junk"])
    assert vault.machines() == {MACHINE: a_machine()}
    assert vault.items(MACHINE) == {ITEM: an_item()}
    assert vault.machine(MACHINE) == (1, a_machine())
    assert vault.machine(stranger) is None
    passed = {row.name: row.lost for row in vault.passed_over.report()}
    for number in JUNK:
        assert (
            passed[f"machines/{MACHINE.hex()}/{number}"] is passed[f"items/{MACHINE.hex()}/{ITEM.hex()}/{number}"]
        )
        assert not passed[f"machines/{MACHINE.hex()}/{number}"]
    assert passed[f"machines/{stranger.hex()}/00000001"]
    assert rename(vault, MACHINE, "renamed").name == "renamed"
    assert vault.machine(MACHINE) == (3, a_machine("renamed"))


def test_the_newest_version_is_that_of_the_highest_number_not_of_the_last_name() -> None:
    vault = new_vault(MemoryStore())
    vault.add_machine(a_machine("older"), 99_999_999)
    vault.add_machine(a_machine("newer"), 100_000_000)
    assert vault.machines()[MACHINE].name == "newer"
    assert vault.machine(MACHINE) == (100_000_000, a_machine("newer"))


def test_a_record_under_the_name_of_another_is_passed_over() -> None:
    vault = new_vault(MemoryStore())
    vault.write_record(Kind.MACHINE, a_machine(machine=bytes(16)), str(MachineName(MACHINE, 1)))
    vault.write_record(Kind.ITEM, an_item(), str(ItemName(bytes(16), ITEM, 1)))
    vault.write_record(Kind.ITEM, an_item(), str(ItemName(MACHINE, bytes(16), 1)))
    assert not vault.machines()
    assert not vault.all_items()


def test_a_hundred_numbers_taken_by_junk_are_an_error_that_names_them() -> None:
    store = MemoryStore()
    vault = new_vault(store)
    vault.add_machine(a_machine())
    for number in range(2, 200):
        store.create(str(MachineName(MACHINE, number)), [b"junk"])
    with pytest.raises(Damaged, match=f"up to machines/{MACHINE.hex()}/00000101 do not open"):
        rename(vault, MACHINE, "renamed")
