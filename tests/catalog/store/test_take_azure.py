"""Objects that Azure copies by itself, on a real Azurite, and what happens where it refuses."""

from __future__ import annotations

import secrets
from datetime import timedelta
from http.client import HTTPConnection
from typing import Any

import pytest

from catalog.errors import AccessDenied, MissingData, ObjectNotFound
from catalog.store.azure.store import AzureStore
from catalog.store.azure.tokens import make_token
from catalog.store.base import Loan, Store
from catalog.store.flow import LARGE
from catalog.store.metered import MeteredStore
from catalog.store.roles import Role
from catalog.store.throttled import ThrottledStore
from catalog.store.wrapper import StoreWrapper
from catalog.throttle.rates import Limits
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.stores import MOST
from tests.throttle.world import Recorded

DATA = {f"packs/0a/{number}": bytes([number]) * 100_000 for number in range(4)}
pytestmark = pytest.mark.needs_azurite


def new_container(azurite: Azurite, role: Role | None = None) -> AzureStore:
    """A store in a new container, by the account's key or by a token."""
    name = azurite.container(f"take-{secrets.token_hex(6)}").container_name
    if role is None:
        return AzureStore(ACCOUNT, name, "vault", environ=azurite.environ)
    token = make_token(ACCOUNT, name, role, timedelta(hours=1), environ=azurite.environ)
    environ = {"AZURE_STORAGE_SERVICE_ENDPOINT": azurite.endpoint}
    return AzureStore(ACCOUNT, name, "vault", environ=environ, token=token.text, endpoint=azurite.endpoint)


@pytest.fixture
def source(azurite: Azurite) -> AzureStore:
    store = new_container(azurite)
    for name, data in DATA.items():
        store.create(name, [data])
    return store


class Unread(StoreWrapper):
    """Lends objects, and can't be read."""

    def pour(self, name: str, offset: int, length: int, file: int, at: int) -> int:
        raise AssertionError(name)

    def read(self, name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
        raise AssertionError(name)


class Misleading(StoreWrapper):
    """Lends what Azure can't read: as behind a firewall, or another emulator."""

    def lend(self, name: str) -> Loan | None:
        loan = self.inner.lend(name)
        return loan and Loan(loan.url.replace("/vault/", "/elsewhere/"), loan.authorization)


@pytest.mark.parametrize("role", [None, Role.BACKUP])
def test_no_byte_passes_through_this_process(source: Store, azurite: Azurite, role: Role | None) -> None:
    """Also with a token that may only create."""
    target, gates = new_container(azurite, role), [Recorded((0.0, Limits(up=1, down=1))) for _ in range(2)]
    from_there, to_there = ThrottledStore(Unread(source), gates[0]), ThrottledStore(target, gates[1])
    for name, data in DATA.items():
        to_there.take(name, from_there, len(data))
        assert target.get(name, MOST) == data
    assert [gate.passed() for gate in gates] == [(0, 0, 0.0)] * 2, "no limit of this machine's traffic holds it"


def test_the_right_to_create_is_needed(source: Store, azurite: Azurite) -> None:
    target = new_container(azurite, Role.RESTORE)
    with pytest.raises(AccessDenied):
        target.take("packs/0a/1", source, 100_000)


def test_what_azure_refuses_to_copy_goes_through_this_process(source: Store, azurite: Azurite) -> None:
    target, metered = new_container(azurite), MeteredStore(Misleading(source), log=True)
    for name, data in DATA.items():
        target.take(name, metered, len(data))
        assert target.get(name, MOST) == data
    assert metered.log is not None
    assert [request.length for request in metered.log] == [0, *[100_000] * 4], "Azure is asked once"


def test_one_object_that_cannot_be_read_does_not_end_copying_by_azure(source: AzureStore, azurite: Azurite) -> None:
    target, metered = new_container(azurite), MeteredStore(source, log=True)
    source._blob("packs/0a/1").set_standard_blob_tier("Archive")
    with pytest.raises(MissingData):
        target.take("packs/0a/1", metered, 100_000)
    with pytest.raises(ObjectNotFound):
        target.take("packs/0a/none", metered, 100_000)
    target.take("packs/0a/2", metered, 100_000)
    assert target.get("packs/0a/2", MOST) == DATA["packs/0a/2"]
    assert metered.log is not None
    assert sum(request.length for request in metered.log) == 0


def test_an_address_that_is_lent_is_not_printed(source: Store) -> None:
    loan = source.lend("packs/0a/1")
    assert loan is not None
    assert "sig=" in loan.url
    assert "sig=" not in f"{loan} {loan!r} {[loan]}"


def test_a_pack_is_sent_piece_by_piece_without_a_limit_too(source: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection's time limit is for each call that sends: for a whole pack it is too short on a slow line."""
    send, lengths = HTTPConnection.send, []

    def sent(connection: HTTPConnection, data: Any) -> None:
        lengths.append(memoryview(data).nbytes)
        send(connection, data)

    monkeypatch.setattr(HTTPConnection, "send", sent)
    data = bytes(3 << 20)
    source.create("packs/0a/large", [data])
    assert max(lengths) == LARGE and sum(lengths) >= len(data)
    assert source.get("packs/0a/large", MOST) == data
