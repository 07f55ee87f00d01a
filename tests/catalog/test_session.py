"""A session: how a vault is opened, and what is counted on the way."""

from __future__ import annotations

import pytest

from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import NotFound, WrongPassphrase
from catalog.store.base import Store
from catalog.store.metered import MeteredStore
from catalog.store.retrying import RetryingStore
from catalog.vault import Vault
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.cli import PASSPHRASE, Cli


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
        raise NotFound("whoever needs this will meet it again")

    assert session.open_vault(meanwhile=meanwhile).id == vault.id
    assert seen == [session.address]


def test_what_goes_wrong_meanwhile_is_told(session: Session, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(store: Store) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        session.open_vault(meanwhile=bug)
    monkeypatch.setenv("RPDRIVE_PASSPHRASE", "the wrong passphrase of many words")
    with pytest.raises(WrongPassphrase):
        session.open_vault(meanwhile=lambda store: None)


def test_records_are_kept_elsewhere_only_for_a_vault_that_is_elsewhere(session: Session, vault: Vault) -> None:
    asked: list[bytes] = []

    def factory(_session: Session, vault_id: bytes) -> dict[str, bytes]:
        asked.append(vault_id)
        return {}

    session.records_factory = factory
    session.open_vault()
    assert asked == []


def test_every_retry_is_counted(rpdrive: Cli, azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in azurite.environ.items():
        monkeypatch.setenv(name, value)
    session = Session(Settings(rpdrive.environ), vault=f"azure://{ACCOUNT}/container")
    store = session.open_store()
    assert isinstance(store, RetryingStore) and isinstance(session.meter, MeteredStore)
    assert store.inner is session.meter and not isinstance(session.meter.inner, RetryingStore)
    session.close()
