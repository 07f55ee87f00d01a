"""A first backup that travels to a vault in Azure, on a real Azurite: from the machine to the recovery point."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from catalog.store.azure.store import AzureStore
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.exporting import Exporter
from tests.kit.vaults import new_vault

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(120)]


def test_to_a_vault_in_azure(tmp_path: Path, azurite: Azurite, disks: list[Path], source: Path) -> None:
    container = azurite.container(f"filled-{secrets.token_hex(6)}")
    machine = Exporter(tmp_path)
    machine.store = store = AzureStore(ACCOUNT, container.container_name, environ=azurite.environ)
    new_vault(store)
    machine.start(disks[1])
    assert machine.backup(source, item="home").problem_count == 0
    folders = {info.name.split("/")[0] for info in store.list("")}
    assert folders - {"vault"} == {"vault.json", "machines", "items", "seeds"}
    assert not machine.close().missing
    assert machine.bring(disks[1]).is_whole
    machine.assert_whole({"home": source})
    (source / "new").write_bytes(b"new")
    again = machine.backup(source, item="home")
    assert again.problem_count == 0 and again.progress.new == 1 and again.progress.read_files == 1
    machine.assert_whole({"home": source})
