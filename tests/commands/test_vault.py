"""`rpdrive vault`: creating, opening, unlocking, changing the passphrase, and everything that can fail."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.format.records import Item, Machine
from catalog.store.local import LocalStore
from catalog.vault import VAULT_FILE, Vault, open_vault
from tests.kit.cli import Cli, Terminal
from tests.kit.vaults import PASSPHRASE

NEW = "another passphrase of many words"
BARE = {"RPDRIVE_PASSPHRASE": None}


# --- create -------------------------------------------------------------------------------------------------


def test_a_vault_that_lost_its_vault_json(rpdrive: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    rpdrive.ok("vault", "create")
    rpdrive.ok("backup", tmp_path / "file")
    (rpdrive.vault / VAULT_FILE).unlink()
    for command in (["vault", "create"], ["points"], ["backup", str(tmp_path / "file")]):
        text = rpdrive.fails(*command, code=6)
        assert "has lost its vault.json" in text and "`rpdrive repair`" in text, text
    kept = (rpdrive.vault / "vault" / "1.json").rename(tmp_path / "1.json")
    text = rpdrive.fails("vault", "create", code=6)
    assert "has lost its vault.json" in text and "from a copy of the vault" in text, text
    assert not (rpdrive.vault / VAULT_FILE).exists()
    (rpdrive.vault / VAULT_FILE).write_bytes(kept.read_bytes())
    assert len(rpdrive.json("points")["points"]) == 1


def test_no_vault_advises_to_check_the_disk_first(rpdrive: Cli) -> None:
    text = rpdrive.fails("points", code=6)
    assert text.index("is mounted") < text.index("vault create"), text


def test_create(rpdrive: Cli) -> None:
    text = rpdrive.ok("vault", "create")
    vault = open_vault(LocalStore(rpdrive.vault), passphrase=PASSPHRASE)
    assert vault.id.hex() in text and rpdrive.vault.as_uri() in text
    assert "without it" in text
    slot = vault.file.slots[0]
    assert (slot.kdf.memory_kib, slot.kdf.passes, slot.kdf.lanes) == (64 * 1024, 3, 4)


def test_create_is_remembered_if_it_is_the_only_one(rpdrive: Cli, tmp_path: Path) -> None:
    nameless: dict[str, str | None] = {"RPDRIVE_VAULT": None}
    assert "--vault" in rpdrive.fails("points", code=2, env=nameless)
    made = rpdrive.json("vault", "create", tmp_path / "first", env=nameless)
    assert made["vault"] == (tmp_path / "first").as_uri()
    assert rpdrive.json("points", env=nameless) == {
        "vault": made["vault"],
        "points": [],
        "removed": [],
        "warnings": [],
        "behind": None,
        "damaged": [],
    }
    rpdrive.ok("vault", "create", tmp_path / "second", env=nameless)
    message = rpdrive.fails("points", code=2, env=nameless)
    assert "first" in message and "second" in message
    assert rpdrive.json("points", "--vault", tmp_path / "second", env=nameless)["points"] == []


def test_create_where_there_is_a_vault(rpdrive: Cli, vault: Vault) -> None:
    before = rpdrive.vault.joinpath(VAULT_FILE).read_bytes()
    rpdrive.fails("vault", "create", code=6)
    rpdrive.fails("vault", "create", code=6, env=BARE)  # without asking for a passphrase
    assert rpdrive.vault.joinpath(VAULT_FILE).read_bytes() == before


def test_create_with_a_short_passphrase_makes_nothing(rpdrive: Cli) -> None:
    assert "16" in rpdrive.fails("vault", "create", code=8, env={"RPDRIVE_PASSPHRASE": "fifteen letters"})
    assert not rpdrive.vault.exists() or not any(rpdrive.vault.iterdir())


def test_create_asks_twice_on_a_terminal(rpdrive: Cli) -> None:
    terminal = Terminal(rpdrive, "vault", "create", env=BARE)
    terminal.answer("Passphrase", PASSPHRASE)
    terminal.answer("again", PASSPHRASE + "!")
    assert terminal.end() == 2 and "differ" in terminal.shown
    assert not rpdrive.vault.joinpath(VAULT_FILE).exists()

    terminal = Terminal(rpdrive, "vault", "create", env=BARE)
    terminal.answer("Passphrase", PASSPHRASE)
    terminal.answer("again", PASSPHRASE)
    assert terminal.end() == 0, terminal.shown
    assert PASSPHRASE not in terminal.shown
    open_vault(LocalStore(rpdrive.vault), passphrase=PASSPHRASE)


def test_create_asks_only_once_for_one_that_is_too_short(rpdrive: Cli) -> None:
    terminal = Terminal(rpdrive, "vault", "create", env=BARE)
    terminal.answer("Passphrase", "short")
    assert terminal.end() == 8 and "again" not in terminal.shown


@pytest.mark.parametrize("address", ["azure://x", "s3://bucket/path", "file://server/share"])
def test_create_at_a_malformed_address(rpdrive: Cli, address: str) -> None:
    rpdrive.fails("vault", "create", address, code=2)


# --- opening ------------------------------------------------------------------------------------------------


def test_a_passphrase_from_a_file_from_the_variable_and_from_the_terminal(
    rpdrive: Cli, vault: Vault, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    for ending in ("", "\n", "\r\n"):
        secret.write_bytes(PASSPHRASE.encode() + ending.encode())
        rpdrive.ok("points", "--passphrase-file", secret, env=BARE)
    rpdrive.ok("points")
    terminal = Terminal(rpdrive, "points", env=BARE)
    terminal.answer("Passphrase of file://", PASSPHRASE)
    assert terminal.end() == 0, terminal.shown
    assert PASSPHRASE not in terminal.shown


def test_no_passphrase_and_no_terminal(rpdrive: Cli, vault: Vault) -> None:
    assert "RPDRIVE_PASSPHRASE" in rpdrive.fails("points", code=8, env=BARE)
    assert json.loads(rpdrive.run("points", "--json", env=dict(BARE)).stderr)["error"]["kind"] == "Locked"


@pytest.mark.parametrize(
    "wrong", ["the wrong passphrase of many words", "short", PASSPHRASE + " ", "wr\u00f6ng" * 8]
)
def test_a_wrong_passphrase(rpdrive: Cli, vault: Vault, wrong: str) -> None:
    env: dict[str, str | None] = {"RPDRIVE_PASSPHRASE": wrong}
    assert wrong not in rpdrive.fails("points", code=8, env=env)
    assert json.loads(rpdrive.run("points", "--json", env=env).stderr)["error"]["kind"] == "WrongPassphrase"


def test_passphrase_files_that_cannot_be_used(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    rpdrive.fails("points", "--passphrase-file", secret, code=11)
    rpdrive.fails("points", "--passphrase-file", tmp_path, code=11)
    for data in (b"", b"\n", b"\xff\xfe of many words\n"):
        secret.write_bytes(data)
        rpdrive.fails("points", "--passphrase-file", secret, code=2)


def test_no_vault_at_the_address(rpdrive: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for address in (tmp_path / "missing", tmp_path / "empty"):
        for command in ("points", "ls", "vault"):
            args = {"ls": ["latest"], "vault": ["info"]}.get(command, [])
            assert "no vault" in rpdrive.fails(command, *args, "--vault", address, code=6)
    assert not (tmp_path / "missing").exists()


def test_a_vault_of_a_newer_format(rpdrive: Cli, vault: Vault) -> None:
    path = rpdrive.vault / VAULT_FILE
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    assert "update rpdrive" in rpdrive.fails("points", code=7)


def test_a_damaged_vault_file(rpdrive: Cli, vault: Vault) -> None:
    path = rpdrive.vault / VAULT_FILE
    good = path.read_text()
    for bad in (
        "",
        good[: len(good) // 2],
        "[]",
        good.replace(vault.id.hex(), "00" * 16),
        good.replace(vault.file.created, "2001-01-01T00:00:00+00:00"),
        good.replace('"memory_kib": 64', '"memory_kib": 99999999'),
    ):
        assert bad != good
        path.write_text(bad)
        done = rpdrive.run("points")
        # A changed id or cost gives another key, which looks the same as a wrong passphrase.
        assert done.returncode in ((8, 9) if vault.id.hex() not in bad and "slots" in bad else (9,)), (bad, done)
        assert done.stderr.count(b"\n") == 1
    path.write_bytes((rpdrive.vault / "vault/1.json").read_bytes())  # as the message advises
    rpdrive.ok("points")


@pytest.mark.unmeasured
def test_a_vault_that_may_not_be_read(rpdrive: Cli, vault: Vault) -> None:
    # Root may read everything, so the process becomes another user, after the imports, which that user may not do.
    script = (
        "import os, sys, rpdrive\n"
        "assert rpdrive.run(['points']) == 0\n"
        "os.chmod(sys.argv[1], 0)\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "sys.exit(rpdrive.run(['points', '--json']))"
    )
    command: list[str | Path] = [sys.executable, "-c", script, rpdrive.vault]
    done = subprocess.run(command, env=rpdrive.environ, capture_output=True, check=False)
    rpdrive.vault.chmod(0o700)
    assert (done.returncode, json.loads(done.stderr)["error"]["kind"]) == (5, "AccessDenied"), done


# --- info ---------------------------------------------------------------------------------------------------


def test_info(rpdrive: Cli, vault: Vault) -> None:
    machine, item = b"m" * 16, b"i" * 16
    vault.add_machine(Machine(id=machine, name="server", hostname="server", system="Linux", created=1))
    vault.add_item(Item(id=item, machine=machine, name="home", paths=[b"/home"], created=1))
    row = rpdrive.json("vault", "info", "--sizes")
    assert row["id"] == vault.id.hex() and row["version"] == row["number"] == 1
    assert row["vault"] == rpdrive.vault.as_uri()
    assert [(s["memory_kib"], s["passes"], s["lanes"]) for s in row["slots"]] == [(64, 1, 1)]
    items = [{"id": item.hex(), "name": "home", "points": 0}]
    want = {"id": machine.hex(), "name": "server", "system": "Linux", "forgotten": False, "items": items}
    assert row["machines"] == [want]
    held = [p for p in rpdrive.vault.rglob("*") if p.is_file() and not p.is_relative_to(rpdrive.vault / ".rpdrive")]
    assert sum(s["bytes"] for s in row["stored"].values()) == sum(p.stat().st_size for p in held)
    assert {k: s["objects"] for k, s in row["stored"].items()} == {
        "items": 1, "machines": 1, "vault": 1, "vault.json": 1
    }  # fmt: skip
    text = rpdrive.ok("vault", "info")
    for word in (vault.id.hex(), "server", "home", "Argon2id", "stored"):
        assert (word in text) == (word != "stored"), word
    assert "stored    in all" in rpdrive.ok("vault", "info", "--sizes")


# --- passphrase ---------------------------------------------------------------------------------------------


def test_the_passphrase_is_changed(rpdrive: Cli, vault: Vault) -> None:
    assert "revokes no access" in rpdrive.ok("vault", "passphrase", env={"RPDRIVE_NEW_PASSPHRASE": NEW})
    rpdrive.fails("points", code=8)
    rpdrive.ok("points", env={"RPDRIVE_PASSPHRASE": NEW})
    assert (rpdrive.vault / "vault/2.json").read_bytes() == (rpdrive.vault / VAULT_FILE).read_bytes()


def test_the_new_passphrase_from_a_file_or_the_terminal(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "new").write_text(NEW + "\n")
    changed = rpdrive.json("vault", "passphrase", "--new-passphrase-file", tmp_path / "new")
    assert changed == {"vault": rpdrive.vault.as_uri(), "id": vault.id.hex(), "number": 2}
    terminal = Terminal(rpdrive, "vault", "passphrase", env=BARE)
    terminal.answer("Passphrase of", NEW)
    terminal.answer("New passphrase", PASSPHRASE)
    terminal.answer("again", PASSPHRASE)
    assert terminal.end() == 0, terminal.shown
    rpdrive.ok("points")


def test_a_change_needs_the_old_one_and_a_strong_new_one(rpdrive: Cli, vault: Vault) -> None:
    before = (rpdrive.vault / VAULT_FILE).read_bytes()
    rpdrive.fails("vault", "passphrase", code=8, env={"RPDRIVE_NEW_PASSPHRASE": "short"})
    rpdrive.fails("vault", "passphrase", code=8)
    wrong: dict[str, str | None] = {"RPDRIVE_PASSPHRASE": "wrong" * 5, "RPDRIVE_NEW_PASSPHRASE": NEW}
    rpdrive.fails("vault", "passphrase", code=8, env=wrong)
    assert (rpdrive.vault / VAULT_FILE).read_bytes() == before


# --- unlock, lock -------------------------------------------------------------------------------------------


def test_a_saved_key_opens_the_vault_until_it_is_locked(rpdrive: Cli, vault: Vault) -> None:
    assert "is right" in rpdrive.ok("vault", "unlock")
    rpdrive.fails("points", code=8, env=BARE)
    path = Path(rpdrive.json("vault", "unlock", "--save")["saved"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.is_relative_to(rpdrive.home)
    rpdrive.ok("points", env=BARE)
    rpdrive.ok("points", env={"RPDRIVE_PASSPHRASE": None, "RPDRIVE_VAULT": None})  # it is the only known vault
    # It stays valid after a change of the passphrase, as the command says.
    assert "unlock --save" in rpdrive.ok("vault", "passphrase", env={**BARE, "RPDRIVE_NEW_PASSPHRASE": NEW})
    rpdrive.ok("points", env=BARE)
    assert rpdrive.json("vault", "lock", env=BARE)["deleted"] is True
    assert not path.exists()
    assert rpdrive.json("vault", "lock", env=BARE)["deleted"] is False
    rpdrive.fails("points", code=8, env=BARE)


def test_unlock_takes_the_passphrase_even_if_a_key_is_saved(rpdrive: Cli, vault: Vault) -> None:
    rpdrive.ok("vault", "unlock", "--save")
    rpdrive.fails("vault", "unlock", code=8, env={"RPDRIVE_PASSPHRASE": "wrong" * 5})
    rpdrive.fails("vault", "unlock", "--save", code=8, env=BARE)
    rpdrive.ok("points", env=BARE)


def test_lock_works_without_the_store(rpdrive: Cli, vault: Vault) -> None:
    saved = Path(rpdrive.json("vault", "unlock", "--save")["saved"])
    rpdrive.vault.rename(rpdrive.vault.with_name("away"))
    rpdrive.ok("vault", "lock", env=BARE)
    assert not saved.exists()


def test_a_saved_key_is_found_by_the_vaults_id_wherever_it_lies(rpdrive: Cli, vault: Vault) -> None:
    rpdrive.ok("vault", "unlock", "--save")
    rpdrive.vault.rename(rpdrive.vault.with_name("moved"))
    moved: dict[str, str | None] = {**BARE, "RPDRIVE_VAULT": str(rpdrive.vault.with_name("moved"))}
    rpdrive.ok("points", env=moved)
    assert rpdrive.json("vault", "lock", env=moved)["deleted"] is True


def test_the_key_of_another_vault_opens_nothing(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    saved = Path(rpdrive.json("vault", "unlock", "--save")["saved"])
    rpdrive.ok("vault", "create", tmp_path / "other")
    rpdrive.fails("points", "--vault", tmp_path / "other", code=8, env=BARE)
    other = open_vault(LocalStore(tmp_path / "other"), passphrase=PASSPHRASE)
    saved.with_name(f"{other.id.hex()}.json").write_text(saved.read_text())
    saved.with_name(f"{other.id.hex()}.json").chmod(0o600)
    rpdrive.fails("points", "--vault", tmp_path / "other", code=11, env=BARE)
    forged = saved.read_text().replace(vault.id.hex(), other.id.hex())
    saved.with_name(f"{other.id.hex()}.json").write_text(forged)
    rpdrive.fails("points", "--vault", tmp_path / "other", code=9, env=BARE)


def test_a_saved_key_that_others_can_read_is_refused(rpdrive: Cli, vault: Vault) -> None:
    saved = Path(rpdrive.json("vault", "unlock", "--save")["saved"])
    saved.chmod(0o644)
    message = rpdrive.fails("points", code=11)
    assert re.search(r"mode 0644.*chmod 600", message)
    assert rpdrive.json("vault", "lock")["deleted"] is True
    rpdrive.ok("points")


def test_no_secret_is_left_in_this_machines_files(rpdrive: Cli, vault: Vault) -> None:
    rpdrive.ok("points")
    rpdrive.run("points", env={"RPDRIVE_PASSPHRASE": "the wrong passphrase of many words"})
    rpdrive.ok("vault", "unlock", "--save")
    rpdrive.ok("vault", "lock")
    left = b"".join(p.read_bytes() for p in rpdrive.home.rglob("*") if p.is_file())
    assert PASSPHRASE.encode() not in left and vault.keys.master not in left
