"""A new kind of store: one scheme and one registration, and every command takes its addresses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import rpdrive as program
from catalog.access.credentials import Connections, Credentials, issue
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import AccessDenied, StoreUnreachable, UsageError
from catalog.store import address
from catalog.store.address import forms, normal_address, open_store, register
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.roles import Role
from catalog.store.scheme import Scheme, Token, Tokens
from catalog.store.wrapper import Request, StoreWrapper, T
from tests.kit.faults import UnreachableStore
from tests.kit.stores import MOST
from tests.kit.vaults import PASSPHRASE, new_vault

URL = "toy://box"
KEY = "TOY_KEY"


class ToyStore(StoreWrapper):
    """A shared store in memory that accepts no token but the valid ones."""

    def __init__(self, toys: ToyScheme, url: str, token: str | None) -> None:
        super().__init__(toys.boxes.setdefault(url, MemoryStore(url)))
        self._toys, self._token = toys, token

    def renew(self, token: str) -> None:
        self._token = token

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if self._token is not None and self._token not in self._toys.good:
            raise AccessDenied("that token is no good")
        return call()


class ToyTokens(Tokens):
    field = "ticket"
    variables = KEY

    def __init__(self, toys: ToyScheme) -> None:
        self._toys = toys

    def in_environment(self, url: str, environ: Mapping[str, str]) -> bool:
        return KEY in environ

    def make(
        self, url: str, role: Role, lifetime: timedelta, *, longest: bool = False, locks: bool = False
    ) -> Token:
        text = f"ticket-{len(self._toys.good)}"
        self._toys.good.add(text)
        return Token(text, "toymaker", datetime.now(UTC).replace(microsecond=0) + lifetime)

    def describe(self, token: Token) -> str:
        return f"a ticket, signed by the {token.signed_by}"

    def revocation(self, token: Token) -> str:
        return f"ask the {token.signed_by} to end it sooner"

    def warnings(self, url: str) -> list[str]:
        return ["the ticket opens the whole box"]


class ToyScheme(Scheme):
    name = "toy"
    forms = ("toy://BOX",)

    def __init__(self) -> None:
        self.boxes: dict[str, MemoryStore] = {}
        self.good: set[str] = set()
        self.tokens = ToyTokens(self)

    def accepts(self, url: str) -> bool:
        return url.removeprefix("toy://").isalpha()

    def open(self, url: str, *, token: str | None = None, endpoint: str | None = None) -> Store:
        return ToyStore(self, url, token)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ToyScheme]:
    monkeypatch.setattr(address, "_schemes", dict(address._schemes))
    toys = ToyScheme()
    register(toys)
    for name, value in {
        "RPDRIVE_HOME": str(tmp_path / "home"),
        "RPDRIVE_PASSPHRASE": PASSPHRASE,
        "RPDRIVE_VAULT": URL,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(KEY, raising=False)
    yield toys


def test_its_addresses_are_known(toys: ToyScheme) -> None:
    assert normal_address("toy://box/") == URL
    assert open_store(URL).url == URL
    assert "toy://BOX" in forms()
    with pytest.raises(UsageError) as caught:
        open_store("toy://7")
    assert "toy://BOX" in caught.value.advice


def test_every_command_takes_them(toys: ToyScheme, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def run(*args: str) -> tuple[int, str, str]:
        code = program.run(list(args))
        text = capsys.readouterr()
        return code, text.out, text.err

    assert run("vault", "create")[0] == 0
    assert "vault.json" in toys.boxes[URL].objects
    assert f"vault     {URL}" in run("vault", "info")[1]
    assert json.loads(run("points", "--json")[1])["vault"] == URL
    file = tmp_path / "file"
    code, text, warned = run("vault", "credentials", "--role", "backup", "--expires", "30d", "-o", str(file))
    assert code == 0 and "a ticket, signed by the toymaker" in text
    assert "the ticket opens the whole box" in warned and "ask the toymaker to end it sooner" in warned
    assert json.loads(file.read_text())["token"] == {
        "ticket": "ticket-0", "signed_by": "toymaker", "endpoint": None
    }  # fmt: skip
    assert run("vault", "connect", str(file))[0] == 0
    assert run("vault", "passphrase")[0] == AccessDenied.exit_code


def test_credentials_in_the_environment_come_first(toys: ToyScheme, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = new_vault(open_store(URL))
    Session().connect(issue(URL, vault.id, Role.RESTORE))
    assert Session().credentials() is not None
    monkeypatch.setenv(KEY, "the toymaker's own")
    assert Session().credentials() is None and Session().environment_has_credentials()


def test_a_connected_session_keeps_to_the_patience_it_is_given(toys: ToyScheme) -> None:
    vault = new_vault(open_store(URL))
    Session().connect(issue(URL, vault.id, Role.RESTORE))

    def opener(url: str, *, token: str | None = None, endpoint: str | None = None) -> Store:
        return UnreachableStore(open_store(url, token=token, endpoint=endpoint))

    session = Session(opener=opener)
    with pytest.raises(StoreUnreachable):
        session.open_store(patience=0.01).get("vault.json", MOST)
    assert session.meter is not None and session.meter.snapshot().requests == 1


def test_an_open_session_goes_on_with_a_renewed_token(toys: ToyScheme) -> None:
    vault = new_vault(open_store(URL))
    Session().connect(issue(URL, vault.id, Role.RESTORE))
    session = Session()
    store = session.open_store()
    assert store.get("vault.json", MOST)
    toys.good.clear()
    with pytest.raises(AccessDenied):
        store.get("vault.json", MOST)
    toys.good.add("ticket-0")
    newer: Credentials = issue(URL, vault.id, Role.RESTORE)
    toys.good.remove("ticket-0")
    Connections(Settings()).save(newer)
    assert store.get("vault.json", MOST)
