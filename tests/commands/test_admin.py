"""`rpdrive vault admin`: the passphrase of the key that signs, and the commands that ask for it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from catalog.access.credentials import issue
from catalog.access.secrets import SavedAdminKeys
from catalog.access.settings import Settings
from catalog.signing import Replaced, replace_admins
from catalog.store.roles import Role
from catalog.vault import Vault
from tests.kit.cli import Cli, Terminal
from tests.kit.vaults import CHEAP, PASSPHRASE

PIN, OTHER = "the admin's own passphrase", "another one of the admin"
NEW, GIVEN = {"RPDRIVE_NEW_ADMIN_PASSPHRASE": PIN}, {"RPDRIVE_ADMIN_PASSPHRASE": PIN}
POLICY = ("policy", "set", "--zone", "UTC", "--daily", "30")


@pytest.fixture
def locked(vault: Vault) -> Replaced:
    """The vault's admin key has a passphrase that costs little to try."""
    return replace_admins(vault, PIN, CHEAP)


def test_a_passphrase_is_set(rpdrive: Cli, vault: Vault) -> None:
    terminal = Terminal(rpdrive, "vault", "admin", "passphrase", env={})
    terminal.answer("New passphrase of the admin key", PIN)
    terminal.answer("again", PIN)
    assert terminal.end() == 0, terminal.shown
    (admin,) = rpdrive.json("vault", "info")["admins"]
    assert admin["opened_by"] == "passphrase"
    assert f"admin key {admin['id']}" in rpdrive.ok("vault", "info")


def test_what_signs_needs_the_passphrase(rpdrive: Cli, locked: Replaced, tmp_path: Path) -> None:
    text = rpdrive.fails(*POLICY, code=8)
    assert "admin key" in text and "RPDRIVE_ADMIN_PASSPHRASE" in text and "--admin-passphrase-file" in text
    text = rpdrive.fails(*POLICY, code=8, env={"RPDRIVE_ADMIN_PASSPHRASE": PASSPHRASE})
    assert "not the passphrase of the vault's admin key" in text
    (tmp_path / "pin").write_text(PIN + "\n")
    assert rpdrive.json(*POLICY, "--admin-passphrase-file", tmp_path / "pin")["number"] == 1
    assert rpdrive.json("--admin-passphrase-file", tmp_path / "pin", *POLICY)["number"] == 2


def test_help_names_the_option_where_something_is_signed(rpdrive: Cli) -> None:
    for command in (("prune",), ("vault", "admin", "passphrase")):
        assert "--admin-passphrase-file" in rpdrive.ok(*command, "--help"), command
    assert "--admin-passphrase-file" not in rpdrive.ok("points", "--help")


def test_a_saved_key_signs_for_a_timer_until_it_is_deleted(rpdrive: Cli, locked: Replaced) -> None:
    path = Path(rpdrive.json("vault", "admin", "unlock", "--save", env=GIVEN)["saved"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.is_relative_to(rpdrive.home)
    assert PIN not in path.read_text()
    rpdrive.ok(*POLICY)
    rpdrive.fails("vault", "admin", "unlock", code=8)  # it checks the passphrase itself
    # A change on this machine takes the saved key along.
    done = rpdrive.json("vault", "admin", "passphrase", env={"RPDRIVE_NEW_ADMIN_PASSPHRASE": OTHER})
    assert (done["signed"], done["removed"]) == (1, [locked.admin.id.hex()])
    rpdrive.ok(*POLICY)


def test_a_saved_key_is_deleted(rpdrive: Cli, vault: Vault, locked: Replaced) -> None:
    path = SavedAdminKeys(Settings(rpdrive.environ)).save(vault.id, locked.private)
    rpdrive.ok(*POLICY)
    assert rpdrive.json("vault", "admin", "lock")["deleted"] is True and not path.exists()
    assert rpdrive.json("vault", "admin", "lock")["deleted"] is False
    rpdrive.fails(*POLICY, code=8)


def test_a_change_asks_for_the_present_passphrase(rpdrive: Cli, locked: Replaced) -> None:
    new = {"RPDRIVE_NEW_ADMIN_PASSPHRASE": OTHER}
    assert "--save" in rpdrive.fails("vault", "admin", "passphrase", code=8, env=dict(new))
    rpdrive.fails("vault", "admin", "passphrase", code=8, env={"RPDRIVE_NEW_ADMIN_PASSPHRASE": "short", **GIVEN})
    assert rpdrive.json("vault", "admin", "show")["admins"][0]["id"] == locked.admin.id.hex()
    terminal = Terminal(rpdrive, "vault", "admin", "passphrase", env=new)
    terminal.answer("Passphrase of the admin key of", PIN)
    assert terminal.end() == 0, terminal.shown


def test_unless_it_is_lost(rpdrive: Cli, locked: Replaced) -> None:
    assert rpdrive.json("vault", "admin", "passphrase", "--forgotten", "--remove")["opened_by"] == "master key"
    assert "every machine of the vault can sign" in rpdrive.ok("vault", "admin", "show")
    rpdrive.ok(*POLICY)


def test_another_machine_says_that_the_key_was_changed_until_that_is_accepted(
    rpdrive: Cli, vault: Vault, tmp_path: Path
) -> None:
    other = Cli(tmp_path / "other")
    other.environ["RPDRIVE_VAULT"] = rpdrive.environ["RPDRIVE_VAULT"]
    assert other.run("points").stderr == b""
    new = rpdrive.json("vault", "admin", "passphrase", "--remove")
    assert rpdrive.run("points").stderr == b"", "this machine changed it itself"
    for _ in range(2):
        said = other.run("points").stderr.decode()
        assert "another admin key than before" in said and "docs/protect.md" in said
        assert f"`rpdrive vault admin accept {new['id']}`" in said
    wrong = other.run("vault", "admin", "accept", "0123456789")
    assert wrong.returncode == 2 and new["id"].encode() in wrong.stderr
    assert other.json("vault", "admin", "accept", new["id"][:8].upper())["accepted"] == [new["id"]]
    assert other.run("points").stderr == b""
    assert other.json("vault", "admin", "accept", new["id"])["accepted"] == []


def test_a_lesser_role_is_refused_before_the_first_request(vault: Vault, tmp_path: Path) -> None:
    other = Cli(tmp_path / "other")
    other.environ["RPDRIVE_VAULT"] = vault.store.url
    file = tmp_path / "file"
    file.write_text(json.dumps(issue(vault.store.url, vault.id, Role.MAINTAIN).to_json()))
    other.ok("vault", "connect", file)
    text = other.fails("vault", "admin", "passphrase", code=5, env={"RPDRIVE_PASSPHRASE": None, **NEW})
    assert "needs the role admin" in text and "role maintain" in text
