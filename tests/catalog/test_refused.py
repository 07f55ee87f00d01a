"""An object that alone can't be had costs that object; a store that refuses everything is a fault of the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.errors import AccessDenied, MissingData, ObjectTooLarge
from catalog.format.blocks import PackKind
from catalog.format.packs import pack_name
from catalog.format.sealed import MAX_SEALED, MAX_SEALED_INDEX, Kind
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from tests.kit.faults import RefusingStore
from tests.kit.vaults import make_vault, new_vault

RECORD = f"machines/{'0' * 32}/00000001"


def test_an_object_that_is_refused_alone_is_missing() -> None:
    vault = new_vault(MemoryStore())
    for prefix, refused in ((RECORD, MissingData), ("", AccessDenied)):
        asked = Vault(RefusingStore(vault.store, prefix=prefix), vault.keys, vault.file)
        with pytest.raises(refused):
            asked.fetch_sealed(Kind.MACHINE, RECORD)
    pack = pack_name(PackKind.DATA, bytes(16))
    for prefix, refused in ((pack, MissingData), ("", AccessDenied)):
        asked = Vault(RefusingStore(vault.store, prefix=prefix), vault.keys, vault.file)
        with pytest.raises(refused):
            asked.read_pack(PackKind.DATA, bytes(16), 0, 1)
        with pytest.raises(refused):
            asked.object_size(PackKind.DATA, bytes(16))


@pytest.mark.parametrize(
    ("kind", "most"), [(Kind.POINT, MAX_SEALED), (Kind.MACHINE, MAX_SEALED), (Kind.INDEX, MAX_SEALED_INDEX)]
)
def test_a_huge_object_is_damaged_and_not_fetched(tmp_path: Path, kind: Kind, most: int) -> None:
    """A sparse file costs whoever makes it nothing."""
    vault = make_vault(tmp_path / "vault")
    path = tmp_path / "vault" / "points" / "p"
    path.parent.mkdir()
    for size in (most, most + 1, 64 << 30):
        with path.open("wb") as file:
            file.truncate(size)
        if size == most:
            assert len(vault.fetch_sealed(kind, "points/p")) == most
        else:
            with pytest.raises(ObjectTooLarge):
                vault.fetch_sealed(kind, "points/p")
