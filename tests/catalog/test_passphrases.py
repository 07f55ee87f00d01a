"""Where a session gets passphrases from, and what it does when there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.access.passphrases import GivenPassphrases
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import LocalError, Locked, UsageError, WeakPassphrase
from catalog.program import NEW_PASSPHRASE, PASSPHRASE
from catalog.vault import Vault
from tests.kit.cli import Cli
from tests.kit.vaults import PASSPHRASE as RIGHT


class Person:
    """Gives these answers, one after the other; then none."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.prompts: list[str] = []

    def __call__(self, prompt: str) -> str | None:
        self.prompts.append(prompt)
        return self.answers.pop(0) if self.answers else None


def test_a_file_comes_before_the_environment_and_a_person_last(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbffrom the file\r\n")
    environ, person = {PASSPHRASE: "from the environment"}, Person("from a person")
    given = GivenPassphrases(tmp_path / "file", environ=environ, ask=person)
    assert given.existing("file:///vault") == "from the file"
    assert GivenPassphrases(environ=environ, ask=person).existing("file:///vault") == "from the environment"
    assert person.prompts == []
    assert GivenPassphrases(environ={}, ask=person).existing("file:///vault") == "from a person"
    assert person.prompts == ["Passphrase of file:///vault"]
    with pytest.raises(Locked, match="file:///vault is locked"):
        GivenPassphrases(environ={}, ask=person).existing("file:///vault")


def test_a_new_one_is_asked_for_twice() -> None:
    person = Person(RIGHT, RIGHT)
    assert GivenPassphrases(environ={}, ask=person).new("New passphrase") == RIGHT
    assert person.prompts == ["New passphrase", "The same passphrase again"]
    with pytest.raises(UsageError, match="differ"):
        GivenPassphrases(environ={}, ask=Person(RIGHT, RIGHT + "!")).new("New passphrase")
    short = Person("short")
    with pytest.raises(WeakPassphrase):
        GivenPassphrases(environ={}, ask=short).new("New passphrase")
    assert len(short.prompts) == 1
    with pytest.raises(Locked) as caught:
        GivenPassphrases(variable=NEW_PASSPHRASE, environ={}, ask=Person(RIGHT)).new("New passphrase")
    assert NEW_PASSPHRASE in caught.value.advice


def test_files_that_hold_none(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with pytest.raises(LocalError, match="can't be read"):
        GivenPassphrases(file).existing("")
    for data, words in ((b"\n", "is empty"), (b"\xff", "not UTF-8")):
        file.write_bytes(data)
        with pytest.raises(UsageError, match=words):
            GivenPassphrases(file).existing("")
    with pytest.raises(UsageError, match=f"from {PASSPHRASE} is not UTF-8"):
        GivenPassphrases(environ={PASSPHRASE: "\udcff"}).existing("")


def test_a_session_opens_a_vault_with_what_its_source_says(rpdrive: Cli, vault: Vault) -> None:
    asked = []

    class Page:
        def existing(self, address: str) -> str:
            asked.append(address)
            return RIGHT

        def new(self, prompt: str) -> str:
            raise AssertionError("nothing new is wanted")

    assert Session(Settings(rpdrive.environ), passphrases=Page()).open_vault().id == vault.id
    assert asked == [rpdrive.vault.as_uri()]
