"""Who is kept from what: never more than what is known."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import pytest

from catalog.errors import UsageError
from catalog.format.admins import make_admin
from catalog.format.keys import Keys
from catalog.format.vaultfile import Immutable, VaultFile
from catalog.protect.assess import Report, assess_account, assess_folder
from catalog.protect.folder import folder_facts
from catalog.store.azure.credentials import CONNECTION_STRING, KEY, SAS_TOKEN, rights
from catalog.store.protection import Fact, State
from catalog.store.scheme import Rights
from catalog.systems.this import SYSTEM
from tests.kit.vaults import CHEAP

ON, OFF, UNKNOWN = State.ON, State.OFF, State.UNKNOWN
KEYS = Keys(bytes(32), bytes(16))
PIN = make_admin(KEYS, b"p" * 32, "now", "the admin's own passphrase", kdf=CHEAP)
PLAIN = make_admin(KEYS, b"q" * 32, "now")
TOKEN = Rights("this machine's token", OFF, OFF, OFF)
NAMES = ("versions", "soft delete", "container soft delete", "locked versions", "fixed lock")


def file(*, pin: bool = True, immutable: Immutable | None = None) -> VaultFile:
    return VaultFile(bytes(16), 1, "now", (), (PIN if pin else PLAIN,), 14, immutable)


def account(*states: State, rights: Rights = TOKEN, pin: bool = True) -> Report:
    facts = [Fact(name, state, 30 if state is ON else None) for name, state in zip(NAMES, states, strict=True)]
    return assess_account(facts, file(pin=pin), rights)


def kept(report: Report, who: str) -> State:
    (row,) = [row for row in report.kept if who in row.who]
    return row.state


def test_each_answer_follows_from_what_is_known() -> None:
    for states in product(State, repeat=5):
        versions, soft, container, locked, fixed = states
        report = account(*states)
        undo = (versions, soft, fixed)
        token = ON if ON in undo else UNKNOWN if UNKNOWN in undo else OFF
        assert kept(report, "stolen `maintain`") is token
        assert kept(report, "owner of the account") is fixed, "whoever owns the account can switch the rest off"
        whole = kept(report, "whole container")
        assert (whole is ON) == (ON in (container, locked))
        assert whole is not OFF or (container, locked) == (OFF, OFF)
        missing = {row.what for row in report.missing}
        assert ("locks that nobody can shorten" in missing) == (fixed is not ON)
        assert ("versions of blobs" in missing) == (versions is not ON)


def test_what_this_machine_may_do_is_said() -> None:
    all_on = (ON,) * 5
    assert kept(account(*all_on), "on this machine") is ON
    key = Rights("the account key in the environment", ON, ON, ON)
    assert kept(account(*all_on, rights=key), "on this machine") is OFF
    signed_in = Rights("the account that is signed in", UNKNOWN, UNKNOWN, UNKNOWN)
    assert kept(account(*all_on, rights=signed_in), "on this machine") is UNKNOWN
    (row,) = [row for row in account(*all_on, pin=False).kept if "on this machine" in row.who]
    assert "it can sign policies" in row.why


def test_the_vaults_own_rules_bind_rpdrive_only() -> None:
    def row(of: VaultFile) -> tuple[State, str]:
        report = assess_folder([], of)
        (found,) = [r for r in report.kept if "with rpdrive" in r.who]
        return found.state, found.why

    assert row(file(pin=False)) == (OFF, "the admin key has no passphrase")
    assert row(file())[0] is ON
    state, why = row(file(pin=False, immutable=Immutable(30, True)))
    assert state is ON and "30 days, locked" in why and "no other program" in why


@pytest.mark.parametrize(
    ("environ", "token", "delete", "overwrite", "protect"),
    [
        ({KEY: "a2V5"}, None, ON, ON, ON),
        ({CONNECTION_STRING: "AccountName=a;AccountKey=a2V5"}, "sp=rl", ON, ON, ON),
        ({CONNECTION_STRING: "BlobEndpoint=https://a;SharedAccessSignature=sp=rcdl&sig=x"}, None, ON, OFF, OFF),
        ({SAS_TOKEN: "?sv=1&sp=rcl&sig=x", KEY: "a2V5"}, None, OFF, OFF, OFF),
        ({SAS_TOKEN: "sp=racwdxltfi&sig=x"}, None, ON, ON, ON),
        ({SAS_TOKEN: "sp=rwl&srt=sco&ss=b&sig=x"}, None, OFF, ON, ON),
        ({SAS_TOKEN: "si=policy&sig=x"}, None, UNKNOWN, UNKNOWN, UNKNOWN),
        ({}, "sp=rl&sig=x", OFF, OFF, OFF),
        ({}, "sp=rcdli&sig=x", ON, OFF, ON),
        ({}, None, UNKNOWN, UNKNOWN, UNKNOWN),
    ],
)
def test_what_azures_credentials_may_do(
    environ: dict[str, str], token: str | None, delete: State, overwrite: State, protect: State
) -> None:
    found = rights(environ, token)
    assert found[1:4] == (delete, overwrite, protect)
    assert "sig=" not in found.what and "a2V5" not in found.what


def test_what_can_be_known_of_a_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    found = {fact.name: fact for fact in folder_facts(tmp_path, tmp_path)}
    assert [found[name].state for name in ("another user's folder", "private", "another disk")] == [OFF, ON, OFF]
    tmp_path.chmod(0o755)
    found = {fact.name: fact for fact in folder_facts(tmp_path, tmp_path / "no-such")}
    assert (found["private"].state, found["another disk"].state) == (OFF, UNKNOWN)
    assert {fact.state for fact in folder_facts(tmp_path / "no-such", tmp_path)} == {UNKNOWN}


def test_a_folder_of_another_user_keeps_programs_of_this_one_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(SYSTEM), "is_own", lambda self, status: False)
    assert {f.name: f.state for f in folder_facts(tmp_path, tmp_path)}["another user's folder"] is OFF
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert {f.name: f.state for f in folder_facts(tmp_path, tmp_path)}["another user's folder"] is ON


def test_days_that_a_person_types() -> None:
    from catalog.access.protecting import parse_days

    assert [parse_days(text) for text in ("30", "off", " OFF ", "36500")] == [30, 0, 0, 36_500]
    for text in ("", "0", "-1", "3.5", "1e3", "\u0663", "9" * 50, "on"):
        with pytest.raises(UsageError):
            parse_days(text)
