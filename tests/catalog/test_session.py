"""A session: how a vault is opened, and which requests are counted."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import NotFound, StoreUnreachable, WrongPassphrase
from catalog.store.address import open_store
from catalog.store.base import Store
from catalog.store.wrapper import StoreWrapper
from catalog.vault import Vault
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.cli import Cli
from tests.kit.faults import FailOnceStore
from tests.kit.stores import MOST
from tests.kit.vaults import PASSPHRASE, make_vault


@pytest.fixture
def session(rpdrive: Cli, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setenv("RPDRIVE_PASSPHRASE", PASSPHRASE)
    return Session(Settings(rpdrive.environ))


def test_opening_asks_once_and_is_counted(session: Session, vault: Vault) -> None:
    assert session.meter is None
    assert session.open_vault().id == vault.id
    assert session.meter is not None and session.meter.snapshot().requests == 1
    assert session.open_store() is session.open_store()


def test_a_given_key_needs_no_passphrase(session: Session, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RPDRIVE_PASSPHRASE")
    assert session.open_vault(master=vault.keys.master).id == vault.id


def test_keys_are_derived_while_something_else_is_done(session: Session, vault: Vault) -> None:
    seen: list[str] = []

    def meanwhile(store: Store) -> None:
        seen.append(store.url)
        raise NotFound("this is raised again when it is needed")

    assert session.open_vault(meanwhile=meanwhile).id == vault.id
    assert seen == [session.address]


def test_errors_of_meanwhile_and_of_the_passphrase_are_raised(
    session: Session, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(store: Store) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        session.open_vault(meanwhile=bug)
    monkeypatch.setenv("RPDRIVE_PASSPHRASE", "the wrong passphrase of many words")
    with pytest.raises(WrongPassphrase):
        session.open_vault(meanwhile=lambda store: None)


def test_records_of_a_local_vault_are_not_cached(session: Session, vault: Vault) -> None:
    asked: list[bytes] = []

    def factory(_session: Session, vault_id: bytes) -> dict[str, bytes]:
        asked.append(vault_id)
        return {}

    Session(session.settings, records_factory=factory).open_vault()
    assert asked == []


def test_every_retry_is_counted(rpdrive: Cli, azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in azurite.environ.items():
        monkeypatch.setenv(name, value)
    opened: list[FailOnceStore] = []

    def opener(url: str, *, token: str | None = None, endpoint: str | None = None) -> Store:
        opened.append(FailOnceStore(open_store(url, token=token, endpoint=endpoint)))
        return opened[0]

    azurite.container("counted")
    session = Session(Settings(rpdrive.environ), vault=f"azure://{ACCOUNT}/counted", opener=opener)
    assert list(session.open_store().list("")) == []
    assert session.meter is not None and session.meter.snapshot().requests == opened[0].seen == 2
    session.close()


def failing_once(url: str, *, token: str | None = None, endpoint: str | None = None) -> Store:
    return FailOnceStore(open_store(url, token=token, endpoint=endpoint))


def test_requests_to_a_folder_are_repeated_only_with_patience(session: Session, vault: Vault) -> None:
    session = Session(session.settings, opener=failing_once)
    with pytest.raises(StoreUnreachable):
        session.open_store().get("vault.json", MOST)
    session = Session(session.settings, opener=failing_once)
    assert session.open_store(patience=60.0).get("vault.json", MOST)
    assert session.meter is not None and session.meter.snapshot().requests == 2


def test_the_own_folders_are_those_of_the_vault_and_of_the_settings(session: Session, rpdrive: Cli) -> None:
    home = [rpdrive.home / kind for kind in ("config", "state", "cache", "run")]
    assert session.own_folders() == [
        ("the vault", rpdrive.vault),
        *(("rpdrive's own folder", folder) for folder in home),
    ]
    assert [folder.path for folder in session.own_folders(config=False)] == [rpdrive.vault, *home[1:]]
    elsewhere = Session(session.settings, vault="azure://account/container")
    assert [folder.path for folder in elsewhere.own_folders()] == home


def test_a_store_that_does_not_answer_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`points` and `mount` said nothing for a minute when the network was away."""
    monkeypatch.setattr("catalog.access.session.FIRST_SILENCE", 0.01)
    make_vault(tmp_path / "vault")
    said: list[str] = []
    told = threading.Event()

    class Silent(StoreWrapper):
        def get(self, name: str, most: int) -> bytes:
            assert told.wait(60)
            return super().get(name, most)

    def opener(url: str, *, token: str | None = None, endpoint: str | None = None) -> Store:
        return Silent(open_store(url, token=token, endpoint=endpoint))

    def waiting(text: str) -> None:
        said.append(text)
        told.set()

    settings = Settings({"RPDRIVE_HOME": str(tmp_path / "home")})
    address = (tmp_path / "vault").as_uri()
    session = Session(settings, vault=address, opener=opener, waiting=waiting)
    session.read_vault_file()
    assert said == [f"no answer yet from {address}; still trying"]
