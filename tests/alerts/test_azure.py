"""Watching a vault in Azurite with a token that can only read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.access.credentials import issue
from catalog.alerts.watching import Watcher
from catalog.store.address import open_store
from catalog.store.roles import Role, RoleStore
from catalog.vault import Vault
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.vaults import new_vault
from tests.kit.watched import Told, fill


@pytest.fixture
def vault(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    for name, value in azurite.environ.items():
        monkeypatch.setenv(name, value)
    azurite.container("alerts")
    store = open_store(f"azure://{ACCOUNT}/alerts")
    yield new_vault(store)
    store.close()


def test_a_token_that_only_reads_is_enough(vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(vault, 3, 3)
    credentials = issue(vault.store.url, vault.id, Role.RESTORE)
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    grant = credentials.grant
    store = RoleStore(open_store(vault.store.url, token=grant.token, endpoint=grant.endpoint), grant, lambda: None)
    told = Told()
    watcher = Watcher(tmp_path, vault.id, told)

    def look() -> list[tuple[str, str]]:
        watcher.look(Vault(store, vault.keys, vault.file), time.time_ns())
        return [one for one in told.take() if one[1] != "time.untrusted"]  # the points are as of long ago

    assert look() == []
    vault.store.delete(str(vault.point_names()[0]))
    assert look() == [("opened", "point.deleted")]
    store.close()
