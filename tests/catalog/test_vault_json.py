"""vault.json and maps: what this reader and the independent one both take, and both refuse."""

from __future__ import annotations

import json

import msgspec
import pytest

from catalog.errors import Damaged
from catalog.format.records import Machine, MachineName, decode_record
from catalog.format.vaultfile import VaultFile
from catalog.store.memory import MemoryStore
from catalog.vault import VAULT_FILE
from tests.kit.independent import sealing, shapes
from tests.kit.independent_reader import read_machine
from tests.kit.vaults import new_vault


def written() -> str:
    store = MemoryStore()
    new_vault(store)
    return store.objects[VAULT_FILE].decode()


@pytest.mark.parametrize("number", [1, 2**63 - 1])
def test_numbers_that_both_readers_take(number: int) -> None:
    data = json.dumps(json.loads(written()) | {"number": number}).encode()
    assert VaultFile.decode(data).number == sealing.VaultFile.parse(data).fields["number"] == number


@pytest.mark.parametrize("number", [0, -1, 2**63, 2**64])
def test_numbers_that_both_readers_refuse(number: int) -> None:
    refused(json.dumps(json.loads(written()) | {"number": number}))


@pytest.mark.parametrize("field", ["number", "created", "algorithm"])
def test_fields_that_repeat(field: str) -> None:
    text = written()
    start = text.index(f'"{field}":')
    row = text[start : text.index(",", start) + 1]
    refused(text.replace(row, row * 2, 1))


def test_of_keys_that_repeat_in_a_map_the_last_counts() -> None:
    machine = Machine(id=bytes(16), name="first", hostname="host", system="Linux", created=1)
    data = msgspec.msgpack.encode(machine)
    assert data[0] >> 4 == 8  # a map of up to 15 fields
    twice = bytes([data[0] + 1]) + data[1:] + msgspec.msgpack.encode("name") + msgspec.msgpack.encode("last")
    name = str(MachineName(bytes(16), 1))
    assert decode_record(Machine, twice, name).name == read_machine(name, twice)["name"] == "last"


def test_a_machine_that_is_not_that_of_its_name_is_damaged() -> None:
    machine = Machine(id=bytes(15) + b"x", name="first", hostname="host", system="Linux", created=1)
    name = MachineName(bytes(16), 1)
    with pytest.raises(Damaged):
        name.check(machine)
    with pytest.raises(shapes.Damaged):
        read_machine(str(name), msgspec.msgpack.encode(machine))


def refused(text: str) -> None:
    with pytest.raises(Damaged):
        VaultFile.decode(text.encode())
    with pytest.raises(shapes.Damaged):
        sealing.VaultFile.parse(text.encode())
