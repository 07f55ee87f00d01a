"""The vault at a known address stays the same, and so does the newest vault.json."""

from __future__ import annotations

import shutil

from catalog.store.local import LocalStore
from catalog.vault import VAULT_FILE, Vault, open_vault
from tests.kit.cli import Cli
from tests.kit.vaults import CHEAP, PASSPHRASE, new_vault


def test_another_vault_at_a_known_address_is_not_opened(rpdrive: Cli) -> None:
    """It has the same passphrase: one that a person uses for all their vaults."""
    rpdrive.ok("vault", "create")
    (row,) = [rpdrive.json("vault", "info")]
    shutil.rmtree(rpdrive.vault)
    other = new_vault(LocalStore(rpdrive.vault))
    message = rpdrive.fails("points", code=6)
    assert row["id"][:8] in message and other.id.hex()[:8] in message and "disconnect" in message
    rpdrive.fails("backup", rpdrive.home, code=6)
    rpdrive.fails("vault", "credentials", "--role", "restore", code=6)
    rpdrive.ok("vault", "disconnect")
    assert rpdrive.json("vault", "info")["id"] == other.id.hex()


def test_an_older_vault_file_is_named(rpdrive: Cli, vault: Vault) -> None:
    old = (rpdrive.vault / VAULT_FILE).read_bytes()
    open_vault(LocalStore(rpdrive.vault), passphrase=PASSPHRASE).change_passphrase(PASSPHRASE, CHEAP)
    assert rpdrive.run("points").stderr == b""
    (rpdrive.vault / VAULT_FILE).write_bytes(old)
    for _ in range(2):
        done = rpdrive.run("points")
        assert done.returncode == 0
        assert b"vault.json is number 1, but number 2 was seen before" in done.stderr
    (note,) = rpdrive.home.rglob("number-*.json")
    for junk in (b"", b"[]", b'{"number": "x"}', b'{"number": -5}', b'{"number": 99999999999999999999}', b"\xff"):
        note.write_bytes(junk)
        assert rpdrive.run("points").stderr == b""
