"""`rpdrive vault protect`: what it reads of folders and accounts, and the rules that it changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catalog.access.credentials import issue
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.format.vaultfile import Immutable
from catalog.signing import replace_admins
from catalog.store.address import open_store
from catalog.store.roles import Role
from catalog.vault import Vault
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.cli import Cli, Terminal
from tests.kit.vaults import CHEAP, PASSPHRASE, new_vault

PIN = "the admin's own passphrase"


def kept(row: dict[str, Any]) -> dict[str, str]:
    return {r["from"]: r["kept"] for r in row["kept"]}


def test_a_folder_says_what_it_does_not_do(rpdrive: Cli, vault: Vault) -> None:
    row = rpdrive.json("vault", "protect")
    assert (row["id"], row["role"], row["immutable"], row["admin_passphrase"]) == (
        vault.id.hex(),
        None,
        None,
        False,
    )
    assert kept(row)["a program of your user, e.g. ransomware"] == "no"
    assert {fact["name"] for fact in row["facts"]} == {
        "another user's folder",
        "private",
        "another disk",
        "snapshots",
    }
    text = rpdrive.ok("vault", "protect")
    assert "roles bind honest tools only" in text and "Missing: a passphrase of the admin key" in text


def test_the_rules_are_set_and_shown(rpdrive: Cli, vault: Vault) -> None:
    row = rpdrive.json("vault", "protect", "--immutable", "30", "--soft-delete", "20")
    assert (row["immutable"], row["soft_delete_days"]) == ({"days": 30, "locked": False}, 20)
    assert "every point is kept for 30 days, not locked" in rpdrive.ok("vault", "info")
    assert rpdrive.json("policy", "show")["immutable_days"] == 30
    assert rpdrive.json("vault", "protect", "--immutable", "off")["immutable"] is None


def test_a_lock_is_asked_for_and_never_undone(rpdrive: Cli, vault: Vault) -> None:
    text = rpdrive.fails("vault", "protect", "--immutable", "30", "--lock", code=2)
    assert "was not locked" in text and "--yes" in text
    assert rpdrive.json("vault", "info")["immutable"] is None
    terminal = Terminal(rpdrive, "vault", "protect", "--immutable", "30", "--lock", env={})
    terminal.answer("Lock it?", "y")
    assert terminal.end() == 0, terminal.shown
    for weaker in (("--immutable", "29"), ("--immutable", "off")):
        assert "can't become fewer" in rpdrive.fails("vault", "protect", *weaker, code=2)
    assert rpdrive.json("vault", "info")["immutable"] == {"days": 30, "locked": True}


def test_who_may_sign_may_change_the_rules(rpdrive: Cli, vault: Vault) -> None:
    replace_admins(vault, PIN, CHEAP)
    vault.change_file(lambda file: file.changed(immutable=Immutable(30, False)))
    assert "admin key" in rpdrive.fails("vault", "protect", "--immutable", "off", code=8)
    given = {"RPDRIVE_ADMIN_PASSPHRASE": PIN}
    assert rpdrive.json("vault", "protect", "--immutable", "off", env=given)["immutable"] is None


def test_a_lesser_role_may_look_and_not_change(vault: Vault, tmp_path: Path) -> None:
    other = Cli(tmp_path / "other")
    other.environ["RPDRIVE_VAULT"] = vault.store.url
    file = tmp_path / "file"
    file.write_text(json.dumps(issue(vault.store.url, vault.id, Role.MAINTAIN).to_json()))
    other.ok("vault", "connect", file)
    assert other.json("vault", "protect")["role"] == "maintain"
    text = other.fails("vault", "protect", "--soft-delete", "20", code=5, env={"RPDRIVE_PASSPHRASE": None})
    assert "needs the role admin" in text


@pytest.mark.parametrize("role", [None, Role.BACKUP, Role.MAINTAIN])
def test_an_account_in_azurite(
    azurite: Azurite, tmp_path: Path, role: Role | None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The key of the account may read its settings; a token for a container may not, and says so."""
    from catalog.access.protecting import protect
    from catalog.protect.rules import Change
    from tests.kit.vaults import home_of

    name = f"protect-{role or 'key'}"
    azurite.container(name)
    url = f"azure://{ACCOUNT}/{name}"
    for variable, value in azurite.environ.items():
        monkeypatch.setenv(variable, value)
    vault = new_vault(open_store(url))
    settings = Settings(home_of(tmp_path / "home", url))
    session = Session(settings, vault=url)
    monkeypatch.setenv("RPDRIVE_PASSPHRASE", PASSPHRASE)
    if role is not None:
        credentials = issue(url, vault.id, role)
        for variable in azurite.environ:
            monkeypatch.delenv(variable)
        session.connect(credentials)
    protect(session, Change(), yes=False, as_json=True)
    session.close()
    row = json.loads(capsys.readouterr().out)
    states = {fact["name"]: fact["state"] for fact in row["facts"]}
    assert states["container soft delete"] == "unknown" and states["versions"] == "off"
    assert (states["soft delete"] == "unknown") == (role is not None)
    said = kept(row)
    assert said["a program on this machine, e.g. ransomware"] == ("yes" if role is Role.BACKUP else "no")
    assert said["a stolen `maintain` or `admin` token"] == ("no" if role is None else "unknown")
    assert said["the owner of the account, or a stolen account key"] == "no"
    assert "versions of blobs" in {r["what"] for r in row["missing"]}
