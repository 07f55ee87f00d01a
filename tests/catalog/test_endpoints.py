"""Where a token is sent: to the server that it is for, and over TLS."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from catalog.access.actions import connect
from catalog.access.credentials import Connections, Credentials
from catalog.access.listing import credentials_json, credentials_text
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import AccessDenied, RpdriveError, UsageError
from catalog.store.azure.credentials import ALLOW_HTTP, check_endpoint, foreign_endpoint
from catalog.store.azure.store import AzureStore
from catalog.store.memory import MemoryStore
from catalog.store.roles import Grant, Role, RoleStore
from catalog.store.scheme import Token
from tests.kit.faults import RefusingStore
from tests.kit.stores import MOST

ADDRESS = "azure://account1/container1"
NOW = datetime.now(UTC).replace(microsecond=0)


class Listener(ThreadingHTTPServer):
    """Refuses every request, or redirects it to `elsewhere`; `paths` are those that came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Refusing)
        self.paths: list[str] = []
        self.elsewhere = ""
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Refusing(BaseHTTPRequestHandler):
    server: Listener

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send_response(302 if self.server.elsewhere else 403)
        if self.server.elsewhere:
            self.send_header("Location", self.server.elsewhere)
        self.send_header("x-ms-error-code", "AuthenticationFailed")
        self.send_header("x-ms-request-id", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def listeners() -> Iterator[list[Listener]]:
    found = [Listener(), Listener()]
    for one in found:
        threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield found
    for one in found:
        one.shutdown()
        one.server_close()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_KEY"):
        monkeypatch.delenv(name, raising=False)
    return Settings({"RPDRIVE_HOME": str(tmp_path / "home")})


def credentials(sas: str, endpoint: str | None) -> Credentials:
    expires = NOW + timedelta(days=1)
    token = Token(sas, "account key", expires, endpoint)
    return Credentials(ADDRESS, bytes(16), Role.RESTORE, NOW, expires, token)


def test_a_renewed_token_does_not_go_to_the_endpoint_of_the_old_one(
    settings: Settings, listeners: list[Listener]
) -> None:
    """A file with an attacker's endpoint is connected once; then the genuine one, while a drive is open."""
    Connections(settings).save(credentials("sig=ATTACKERS", listeners[0].url))
    settings.remember_vault(ADDRESS, bytes(16))
    store = Session(settings, vault=ADDRESS).open_store(0.0)
    Connections(settings).save(credentials("sig=GENUINE", None))
    with pytest.raises(AccessDenied):
        store.get("vault.json", MOST)
    assert listeners[0].paths and not any("GENUINE" in path for path in listeners[0].paths)
    # A new token for the same endpoint is used.
    Connections(settings).save(credentials("sig=NEWER", listeners[0].url))
    with pytest.raises(AccessDenied):
        store.get("vault.json", MOST)
    assert "NEWER" in listeners[0].paths[-1]


def test_a_grant_for_another_endpoint_is_none() -> None:
    renewed: list[str] = []

    class Renewable(RefusingStore):
        def renew(self, token: str) -> None:
            renewed.append(token)

    later = int((NOW + timedelta(days=1)).timestamp()) * 10**9
    old, other = Grant(Role.RESTORE, later, "old", None), Grant(Role.RESTORE, later, "new", "https://elsewhere")
    store = RoleStore(Renewable(MemoryStore()), old, lambda: other)
    with pytest.raises(AccessDenied):
        store.get("vault.json", MOST)
    assert renewed == []


def test_a_redirect_does_not_take_the_token_along(listeners: list[Listener]) -> None:
    first, other = listeners
    first.elsewhere = f"{other.url}/elsewhere"
    store = AzureStore("account1", "container1", token="sig=GENUINE", endpoint=first.url, environ={})
    with pytest.raises(RpdriveError):
        store.get("vault.json", MOST)
    assert first.paths
    assert not any("GENUINE" in path for path in other.paths)


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("https://account1.blob.core.windows.net", True),
        ("https://store.example/account1", True),
        ("http://127.0.0.1:10000/account1", True),
        ("http://[::1]:10000/account1", True),
        ("http://localhost/account1", True),
        ("http://account1.blob.core.windows.net", False),
        ("http://10.0.0.1/account1", False),
        ("http://127.0.0.1.example/account1", False),
        ("ftp://127.0.0.1", False),
        ("https://", False),
        ("account1", False),
    ],
)
def test_plain_http_is_for_this_machine_alone(url: str, right: bool) -> None:
    for environ in ({}, {ALLOW_HTTP: "1"}):
        if right or (environ and url.startswith("http:")):
            check_endpoint(url, environ)
        else:
            with pytest.raises(UsageError):
                check_endpoint(url, environ)


@pytest.mark.parametrize(
    "environ",
    [
        {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=account1;AccountKey=a2V5;BlobEndpoint=http://10.0.0.1/x"},
        {"AZURE_STORAGE_KEY": "a2V5", "AZURE_STORAGE_SERVICE_ENDPOINT": "http://10.0.0.1/x"},
        {},
    ],
)
def test_no_store_is_opened_over_plain_http(environ: dict[str, str]) -> None:
    def opened(environ: dict[str, str]) -> AzureStore:
        return AzureStore("account1", "container1", environ=environ, token="sig=x", endpoint="http://10.0.0.1/x")

    with pytest.raises(UsageError, match="has no TLS"):
        opened(environ)
    opened(environ | {ALLOW_HTTP: "1"}).close()


@pytest.mark.parametrize(
    ("endpoint", "foreign"),
    [
        (None, False),
        ("https://account1.blob.core.windows.net", False),
        ("https://account1.blob.core.windows.net:443", False),
        ("https://account1.blob.core.usgovcloudapi.net/", False),
        ("https://account1.blob.core.chinacloudapi.cn", False),
        ("https://account1.z42.blob.storage.azure.net", False),
        ("http://account1.blob.core.windows.net", True),
        ("https://account2.blob.core.windows.net", True),
        ("https://account1.blob.core.windows.net.evil.example", True),
        ("https://account1.blob.core.windows.net@evil.example", True),
        ("https://x@account1.blob.core.windows.net", True),
        ("https://account1.blob.core.windows.net:8443", True),
        ("https://account1.blob.core.windows.net:x", True),
        ("https://evil.example/account1.blob.core.windows.net", True),
        ("http://127.0.0.1:10000/account1", True),
    ],
)
def test_an_endpoint_that_is_not_azures_is_foreign(endpoint: str | None, foreign: bool) -> None:
    assert foreign_endpoint("account1", endpoint) == (endpoint if foreign else None)
    given = credentials("sig=x", endpoint)
    assert credentials_json(given)["endpoint"] == endpoint
    assert ("endpoint" in credentials_text(given)) == foreign


@pytest.mark.parametrize("answer", [None, False, True])
def test_connect_asks_about_a_foreign_endpoint(
    settings: Settings, listeners: list[Listener], tmp_path: Path, answer: bool | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    file = tmp_path / "file.json"
    file.write_text(json.dumps(credentials("sig=x", listeners[0].url).to_json()))
    asked: list[str] = []

    def ask(question: str) -> bool | None:
        asked.append(question)
        return answer

    monkeypatch.setattr("catalog.access.actions.confirm_on_terminal", ask)
    with pytest.raises(AccessDenied if answer else UsageError):
        connect(Session(settings), file, save_key=False)
    assert bool(listeners[0].paths) == bool(answer), "nothing is sent before the answer"
    assert len(asked) == 1 and listeners[0].url in asked[0]
    with pytest.raises(AccessDenied):
        connect(Session(settings), file, save_key=False, accept_endpoint=True)
    assert len(asked) == 1
