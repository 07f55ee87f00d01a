"""Vault credentials: what the server refuses to each role, files that can't be used, and what is remembered."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import stat
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.storage.blob import ContainerClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from catalog.access.credentials import Connections, Credentials, issue, read_credentials
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import (
    AccessDenied,
    LocalError,
    NewerFormat,
    ObjectExists,
    RpdriveError,
    ShortRead,
    StoreUnreachable,
    UsageError,
    WrongPassphrase,
)
from catalog.store.azure.store import AzureStore
from catalog.store.azure.tokens import make_token
from catalog.store.base import Range, Store
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.store.roles import Grant, Role, RoleStore
from catalog.store.scheme import Token
from catalog.vault import Vault
from tests.kit.azurite import ACCOUNT, Azurite, running_azurite
from tests.kit.cli import Cli
from tests.kit.stores import MOST
from tests.kit.vaults import PASSPHRASE, new_vault

HOUR = 3600 * 10**9
DAY = timedelta(days=1)


# --- tokens, as the server enforces them -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def container(azurite: Azurite) -> Iterator[ContainerClient]:
    client = azurite.container("roles")
    for name in ("there", "to-delete", "to-replace"):
        client.upload_blob(name, b"content of " + name.encode())
    yield client


def token_of(azurite: Azurite, role: Role, lifetime: timedelta = DAY) -> Token:
    return make_token(ACCOUNT, "roles", role, lifetime, environ=azurite.environ)


def ask(token: Token, method: str, name: str, data: bytes | None = None, **headers: str) -> int:
    """Send one raw request with the token and return the status of the answer."""
    url = f"{token.endpoint}/roles{'/' if name and not name.startswith('?') else ''}{name}"
    url += ("&" if "?" in url else "?") + token.text
    sent = {"x-ms-version": "2021-12-02"} | {k.replace("_", "-"): v for k, v in headers.items()}
    request = urllib.request.Request(url, data, sent, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as e:
        return e.code


BLOCK = {"x_ms_blob_type": "BlockBlob", "Content_Type": "application/octet-stream"}


def put(token: Token, name: str, **headers: str) -> int:
    return ask(token, "PUT", name, b"new", **BLOCK, **headers)


@pytest.mark.parametrize("role", Role)
def test_the_server_refuses_what_a_role_may_not(azurite: Azurite, container: ContainerClient, role: Role) -> None:
    token = token_of(azurite, role)
    refused = 403
    assert ask(token, "GET", "there") == 200
    assert ask(token, "GET", "?restype=container&comp=list") == 200
    may_create, may_delete, may_replace = (role.includes(r) for r in (Role.BACKUP, Role.MAINTAIN, Role.ADMIN))
    # Without If-None-Match: it is the permission that protects the object, not the client's header.
    assert put(token, f"new-{role}") == (201 if may_create else refused)
    assert put(token, "to-replace") == (201 if may_replace else refused)
    assert ask(token, "PUT", "there?comp=metadata", b"", x_ms_meta_a="b") == (200 if may_replace else refused)
    if may_replace:
        container.upload_blob("to-replace", b"content of to-replace", overwrite=True)
    else:
        assert ask(token, "PUT", "there?comp=tier", b"", x_ms_access_tier="Archive") == refused
        assert container.download_blob("to-replace").readall() == b"content of to-replace"
    if may_delete:
        assert ask(token, "DELETE", "to-delete") == 202
        container.upload_blob("to-delete", b"content of to-delete")
    else:
        assert ask(token, "DELETE", f"new-{role}") in (refused, 404)
        assert ask(token, "DELETE", "to-delete") == refused
        assert container.download_blob("to-delete").readall() == b"content of to-delete"
    # No token reaches beyond its container, or creates or deletes a container.
    assert ask(token, "DELETE", "?restype=container") == refused


def test_an_expired_token_is_refused_by_the_server(azurite: Azurite, container: ContainerClient) -> None:
    assert ask(token_of(azurite, Role.ADMIN, -timedelta(minutes=5)), "GET", "there") == 403
    assert ask(token_of(azurite, Role.ADMIN)._replace(text=""), "GET", "there") in (403, 404)


def test_a_backup_token_creates_and_never_overwrites(azurite: Azurite, container: ContainerClient) -> None:
    token = token_of(azurite, Role.BACKUP)
    store = AzureStore(ACCOUNT, "roles", environ={}, token=token.text, endpoint=token.endpoint)
    store.create("made/once", [b"one"])
    with pytest.raises(ObjectExists):
        store.create("made/once", [b"two"])
    with pytest.raises(AccessDenied):
        store.replace("made/once", b"two", store.get_tagged("made/once", MOST)[1])
    with pytest.raises(AccessDenied):
        store.delete("made/once")
    assert store.get("made/once", MOST) == b"one"
    assert "made/once" in [info.name for info in store.list("")]
    store.close()


def test_a_maintain_token_deletes_and_never_overwrites(azurite: Azurite, container: ContainerClient) -> None:
    """Put Block needs the permission to overwrite: what is put together goes through this process."""
    token = token_of(azurite, Role.MAINTAIN)
    store = AzureStore(ACCOUNT, "roles", environ={}, token=token.text, endpoint=token.endpoint)
    store.create("kept/one", [b"one"])
    for name in ("kept/both", "kept/again"):
        store.compose(name, [b"<", Range("there", 0, 7), Range("kept/one", 1, 2), b">"])
        assert store.get(name, MOST) == b"<contentne>"
    with pytest.raises(ObjectExists):
        store.compose("kept/both", [b"other"])
    with pytest.raises(ShortRead):
        store.compose("kept/none", [Range("kept/one", 1, 3)])
    with pytest.raises(AccessDenied):
        store.replace("kept/one", b"two", store.get_tagged("kept/one", MOST)[1])
    assert store.get("kept/one", MOST) == b"one"
    for name in ("kept/one", "kept/both", "kept/again"):
        store.delete(name)
    assert [info.name for info in store.list("kept/")] == []
    store.close()


def test_no_role_may_take_away_what_versions_and_soft_delete_keep(azurite: Azurite) -> None:
    given = {
        role: urllib.parse.parse_qs(token_of(azurite, role).text)["sp"][0] for role in Role
    }  # x deletes versions, y deletes for ever
    assert given == {"restore": "rl", "backup": "rcl", "maintain": "rcdl", "admin": "rcwdl"}


def test_a_sas_makes_no_other_tokens(azurite: Azurite, container: ContainerClient) -> None:
    token = token_of(azurite, Role.ADMIN)
    environ = {"AZURE_STORAGE_SAS_TOKEN": token.text, "AZURE_STORAGE_SERVICE_ENDPOINT": str(token.endpoint)}
    with pytest.raises(AccessDenied, match="can't make a token"):
        make_token(ACCOUNT, "roles", Role.RESTORE, DAY, environ=environ)


class SignedIn:
    """A signed-in user with an unsigned token, which Azurite accepts."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        now = int(time.time())
        tenant = "11111111-1111-1111-1111-111111111111"
        claims = {
            "aud": "https://storage.azure.com", "iss": f"https://sts.windows.net/{tenant}/", "iat": now - 60,
            "nbf": now - 60, "exp": now + 3600, "oid": "22222222-2222-2222-2222-222222222222", "tid": tenant,
        }  # fmt: skip
        parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims)] + [b"none"]
        token = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
        return AccessToken(token, now + 3600)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(*encoding))
    return files


@pytest.mark.needs_azurite
def test_a_user_delegation_token_lasts_seven_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The key comes from a real Azurite. It can't show that a server accepts the signatures: it does not know the
    # string-to-sign of the newest version, which the SDK writes.
    monkeypatch.setattr("catalog.store.azure.credentials._default_credential", lambda account: SignedIn())
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    with running_azurite(tmp_path, certificate=certificate) as azurite:
        environ = {"AZURE_STORAGE_SERVICE_ENDPOINT": azurite.endpoint}
        before = datetime.now(UTC).replace(microsecond=0)
        token = make_token(ACCOUNT, "roles", Role.BACKUP, 10 * DAY, longest=True, environ=environ)
        assert token.signed_by == "user delegation" and token.endpoint == azurite.endpoint
        assert before + 7 * DAY <= token.expires <= datetime.now(UTC) + 7 * DAY
        fields = urllib.parse.parse_qs(token.text)
        assert fields["skoid"] == ["22222222-2222-2222-2222-222222222222"]
        assert (fields["sp"], fields["sr"], fields["spr"]) == (["rcl"], ["c"], ["https"])
        assert datetime.fromisoformat(fields["se"][0]) == token.expires
        assert datetime.fromisoformat(fields["ske"][0]) >= token.expires
        short = make_token(ACCOUNT, "roles", Role.RESTORE, DAY, environ=environ)
        assert short.expires < before + 2 * DAY
        with pytest.raises(UsageError, match="7 days at most"):
            make_token(ACCOUNT, "roles", Role.RESTORE, 8 * DAY, environ=environ)
    with pytest.raises(StoreUnreachable):
        make_token(ACCOUNT, "roles", Role.RESTORE, DAY, environ=environ)


# --- the store that enforces a role ---------------------------------------------------------------------------


def use(store: Store, kind: str) -> object:
    calls: dict[str, Callable[[], object]] = {
        "create": lambda: store.create("new", [b"1"]),
        "compose": lambda: store.compose("new", [b"1", Range("old", 0, 1)]),
        "replace": lambda: store.replace("old", b"2", store.get_tagged("old", MOST)[1]),
        "delete": lambda: store.delete("old"),
        "get": lambda: store.get("old", MOST),
        "read": lambda: store.read("old", 0, 2),
        "size": lambda: store.size("old"),
        "list": lambda: list(store.list("")),
    }
    return calls[kind]()


MAY = {
    Role.RESTORE: {"get", "read", "size", "list"},
    Role.BACKUP: {"get", "read", "size", "list", "create"},
    Role.MAINTAIN: {"get", "read", "size", "list", "create", "compose", "delete"},
    Role.ADMIN: {"get", "read", "size", "list", "create", "compose", "replace", "delete"},
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("kind", sorted(MAY[Role.ADMIN]))
def test_requests_outside_the_role_are_never_sent(role: Role, kind: str) -> None:
    memory = MemoryStore()
    memory.create("old", [b"old"])
    meter = MeteredStore(memory)
    store = RoleStore(meter, Grant(role, time.time_ns() + HOUR), lambda: None)
    if kind in MAY[role]:
        use(store, kind)
        return
    with pytest.raises(AccessDenied, match=str(role)):
        use(store, kind)
    assert meter.snapshot().of(kind).requests == 0
    assert memory.objects == {"old": b"old"}


def test_an_expired_grant_opens_nothing_until_it_is_renewed() -> None:
    memory = MemoryStore()
    memory.create("old", [b"old"])
    meter = MeteredStore(memory)
    newer: list[Grant] = []
    store = RoleStore(meter, Grant(Role.RESTORE, time.time_ns() - 1), lambda: newer[-1] if newer else None)
    for kind in sorted(MAY[Role.RESTORE]):
        with pytest.raises(AccessDenied, match="expired"):
            use(store, kind)
    assert meter.snapshot().requests == 0
    newer.append(Grant(Role.RESTORE, time.time_ns() + HOUR))
    for kind in sorted(MAY[Role.RESTORE]):
        use(store, kind)


def test_a_listing_goes_on_after_a_renewal(azurite: Azurite) -> None:
    client = azurite.container("renewed-listing")
    for n in range(5):
        client.upload_blob(f"name-{n}", b"1")
    old, new = (
        make_token(ACCOUNT, "renewed-listing", Role.RESTORE, lifetime, environ=azurite.environ)
        for lifetime in (-timedelta(minutes=5), DAY)
    )
    azure = AzureStore(ACCOUNT, "renewed-listing", environ={}, token=old.text, endpoint=old.endpoint)

    def renewed() -> Grant:
        return Grant(Role.RESTORE, time.time_ns() + HOUR, new.text)

    store = RoleStore(azure, Grant(Role.RESTORE, time.time_ns() + HOUR, old.text), renewed)
    assert [info.name for info in store.list("")] == [f"name-{n}" for n in range(5)]
    store.close()


# --- files --------------------------------------------------------------------------------------------------


def test_contents_of_a_credentials_file(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    text = rpdrive.ok("vault", "credentials", "--role", "restore", "-o", path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "only advice" in text and PASSPHRASE not in path.read_text()
    row = json.loads(path.read_text())
    assert row["address"] == rpdrive.vault.as_uri() and row["vault"] == vault.id.hex()
    assert (row["role"], row["token"]) == ("restore", None)
    issued, expires = (datetime.fromisoformat(row[key]) for key in ("issued", "expires"))
    assert expires - issued == 10 * DAY
    assert vault.keys.master.hex() not in path.read_text()
    read = read_credentials(path.read_bytes(), "file")
    assert (read.role, read.vault_id, read.expires) == (Role.RESTORE, vault.id, expires)
    # The command needs no passphrase, only access to the store.
    rpdrive.ok("vault", "credentials", "--role", "backup", "-o", path, env={"RPDRIVE_PASSPHRASE": None})
    assert read_credentials(path.read_bytes(), "file").role is Role.BACKUP


def test_a_long_lifetime_gives_a_warning(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    command = ("vault", "credentials", "--role", "backup", "-o", tmp_path / "file")
    assert "400 days" in rpdrive.run(*command, "--expires", "400d").stderr.decode()
    assert rpdrive.run(*command, "--expires", "12h").stderr == b""
    row = rpdrive.json(*command, "--expires", "4w")
    assert len(row["warnings"]) == 1 and row["enforced_by"] == "rpdrive only" and "token" not in row
    for wrong in ("", "10", "0d", "-1d", "soon"):
        rpdrive.fails(*command, "--expires", wrong, code=2)
    rpdrive.fails(*command[:2], "--role", "owner", code=2)


def test_azure_credentials_name_the_key_that_signed_them(azurite: Azurite, rpdrive: Cli, tmp_path: Path) -> None:
    azurite.container("said")
    url = f"azure://{ACCOUNT}/said/prefix"
    rpdrive.environ |= azurite.environ | {"RPDRIVE_VAULT": url}
    path = tmp_path / "file"
    rpdrive.fails("vault", "credentials", "--role", "restore", "-o", path, code=6)
    assert not path.exists()
    rpdrive.ok("vault", "create")
    done = rpdrive.run("vault", "credentials", "--role", "restore", "-o", path, "--expires", "90d")
    assert done.returncode == 0 and b"signed by the account key" in done.stdout
    assert b"90 days" in done.stderr and b"whole container" in done.stderr
    row = json.loads(path.read_text())
    assert row["token"]["endpoint"] == azurite.endpoint and row["token"]["signed_by"] == "account key"
    assert "AccountKey" not in path.read_text()
    assert azurite.endpoint in rpdrive.fails("vault", "connect", path, code=2)
    done = rpdrive.run("vault", "connect", path, "--accept-endpoint")
    assert done.returncode == 0 and b"environment" in done.stderr
    assert f"endpoint {azurite.endpoint}".encode() in done.stdout
    assert rpdrive.run("vault", "connect", path).returncode == 0  # accepted once for this vault
    assert row["token"]["sas"] not in rpdrive.ok("vault", "credentials", "--role", "restore", "-o", path, "--json")


GOOD = Credentials(
    "file:///vault",
    bytes(range(16)),
    Role.RESTORE,
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2099, 1, 1, tzinfo=UTC),
)
AZURE = Credentials(
    "azure://account/vault",
    bytes(16),
    Role.ADMIN,
    GOOD.issued,
    GOOD.expires,
    Token("sig=secret", "account key", GOOD.expires),
)


@pytest.mark.parametrize("made", [GOOD, AZURE])
def test_a_file_is_read_back_as_it_was_written(made: Credentials) -> None:
    data = json.dumps(made.to_json()).encode()
    assert read_credentials(data, "file") == made
    for length in range(len(data)):  # truncated anywhere, it is never mistaken for a valid file
        with pytest.raises(UsageError, match=r"truncated or damaged|is not a vault credentials file"):
            read_credentials(data[:length], "file")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"format": "something else"}, UsageError),
        ({"version": 2}, NewerFormat),
        ({"role": "owner"}, UsageError),
        ({"vault": "00"}, UsageError),
        ({"vault": None}, UsageError),
        ({"expires": "tomorrow"}, UsageError),
        ({"expires": None}, UsageError),
        ({"address": "https://account/vault"}, UsageError),
        ({"address": 1}, UsageError),
        ({"token": None}, UsageError),
        ({"token": {"sas": ""}}, UsageError),
        ({"token": "sig=secret"}, UsageError),
    ],
)
def test_a_changed_file_is_refused(change: dict[str, Any], error: type[RpdriveError]) -> None:
    with pytest.raises(error) as raised:
        read_credentials(json.dumps(AZURE.to_json() | change).encode(), "file")
    assert "secret" not in str(raised.value)
    for data in (b"", b"[]", b"null", b"\xff\xfe", b"no json", b"[" * 100_000):
        with pytest.raises(UsageError, match=r"is not a vault credentials file|can't be used"):
            read_credentials(data, "file")


# --- connecting ---------------------------------------------------------------------------------------------


@pytest.fixture
def other(rpdrive: Cli, tmp_path: Path) -> Cli:
    """A machine that has never seen the vault of `rpdrive`."""
    other = Cli(tmp_path / "other")
    del other.environ["RPDRIVE_VAULT"]
    return other


def credentials_file(of: Vault, path: Path, role: Role = Role.RESTORE, **change: Any) -> Path:
    row = issue(of.store.url, of.id, role).to_json() | change
    path.write_text(json.dumps(row))
    return path


def objects(folder: Path) -> set[Path]:
    return {p for p in folder.rglob("*") if p.is_file() and ".rpdrive" not in p.parts}


def test_connect_and_disconnect(vault: Vault, other: Cli, tmp_path: Path) -> None:
    file = credentials_file(vault, tmp_path / "file")
    assert "no vault was named" in other.fails("points", code=2)
    text = other.ok("vault", "connect", file)
    assert vault.store.url in text and "restore" in text
    other.ok("points")  # it is the only known vault, so no option is needed
    other.fails("points", code=8, env={"RPDRIVE_PASSPHRASE": None})
    other.ok("vault", "connect", file, "--save-key")
    other.ok("points", env={"RPDRIVE_PASSPHRASE": None})
    left = [p for p in other.home.rglob("*") if p.is_file()]
    assert {stat.S_IMODE(p.stat().st_mode) for p in left} == {0o600}
    assert other.json("vault", "disconnect")["disconnected"] is True
    assert other.home.joinpath("config/vaults.json").read_text().strip() == "{}"
    kept = [p.name for p in other.home.rglob("*") if p.is_file() and p.parent.name in ("keys", "connections")]
    assert kept == []
    assert "no vault was named" in other.fails("points", code=2)
    assert other.json("vault", "disconnect", "--vault", vault.store.url)["disconnected"] is False


def test_what_can_be_wrong_with_a_file(vault: Vault, other: Cli, tmp_path: Path) -> None:
    def fails(code: int, **change: Any) -> str:
        return other.fails("vault", "connect", credentials_file(vault, tmp_path / "file", **change), code=code)

    assert "expired" in fails(5, expires="2026-01-02T00:00:00Z")
    assert "newer" in fails(7, version=2)
    (tmp_path / "file").write_text(credentials_file(vault, tmp_path / "file").read_text()[:-30])
    assert "truncated" in other.fails("vault", "connect", tmp_path / "file", code=2)
    (tmp_path / "file").write_text("{}")
    assert "is not a vault credentials file" in other.fails("vault", "connect", tmp_path / "file", code=2)
    assert "can't be read" in other.fails("vault", "connect", tmp_path / "nothing", code=11)
    assert "no vault at" in fails(6, address="file:///nowhere/at/all")
    other.fails(
        "vault", "connect", credentials_file(vault, tmp_path / "file"), code=8,
        env={"RPDRIVE_PASSPHRASE": "a wrong passphrase, long enough"},
    )  # fmt: skip
    assert not [p for p in other.home.rglob("*") if p.is_file()], "nothing is remembered after a failure"


def test_credentials_of_another_vault_are_refused_before_the_passphrase(
    vault: Vault, other: Cli, tmp_path: Path
) -> None:
    file = credentials_file(vault, tmp_path / "file", vault="00" * 16)
    message = other.fails("vault", "connect", file, code=2, env={"RPDRIVE_PASSPHRASE": None})
    assert vault.id.hex() in message and "00" * 16 in message


def test_a_lesser_role_is_reported_before_any_work(vault: Vault, other: Cli, tmp_path: Path) -> None:
    other.ok("vault", "connect", credentials_file(vault, tmp_path / "file"), "--save-key")
    before = objects(tmp_path / "vault")
    for command in (
        ("backup", tmp_path),
        ("machine", "register"),
        ("machine", "rename", "x", "y"),
        ("machine", "forget", "x"),
        ("vault", "credentials", "--role", "admin", "-o", tmp_path / "more"),
        ("prune",),
        ("repair", "--yes"),
    ):
        message = other.fails(*command, code=5, env={"RPDRIVE_PASSPHRASE": None})
        assert "role restore" in message and "vault connect" in message
    new = {"RPDRIVE_NEW_PASSPHRASE": "another passphrase, long enough"}
    assert "role admin" in other.fails("vault", "passphrase", code=5, env=dict(new))
    assert not (tmp_path / "more").exists()
    assert objects(tmp_path / "vault") == before
    other.ok("vault", "connect", credentials_file(vault, tmp_path / "file", Role.BACKUP))
    source = tmp_path / "source"
    source.mkdir()
    source.joinpath("file").write_text("content")
    other.ok("backup", source)
    assert "role admin" in other.fails("vault", "passphrase", code=5, env=dict(new))
    assert "needs the role maintain" in other.fails("prune", code=5)
    assert objects(tmp_path / "vault") > before


@pytest.mark.needs_fuse
def test_an_expired_connection_says_what_to_do(vault: Vault, other: Cli, tmp_path: Path) -> None:
    other.ok("vault", "connect", credentials_file(vault, tmp_path / "file"))
    connections = Connections(Settings(other.environ))
    kept = connections.load(vault.id, vault.store.url)
    assert kept is not None
    past = datetime(2026, 1, 1, tzinfo=UTC)
    connections.save(Credentials(kept.address, kept.vault_id, kept.role, past, past))
    for command in (("points",), ("backup", tmp_path), ("mount", tmp_path / "drive")):
        (tmp_path / "drive").mkdir(exist_ok=True)
        message = other.fails(*command, code=5)
        assert "expired" in message or "role backup" in message
    other.ok("vault", "connect", credentials_file(vault, tmp_path / "file"))
    other.ok("points")


# --- where secrets are stored -----------------------------------------------------------------------------------

KEYRING = '''
import json, os
from pathlib import Path
from keyring.backend import KeyringBackend

class FileKeyring(KeyringBackend):
    """A keyring in a file of the test."""
    priority = 5
    def _all(self):
        path = Path(os.environ["TEST_KEYRING"])
        return json.loads(path.read_text()) if path.exists() else {}
    def _keep(self, rows):
        Path(os.environ["TEST_KEYRING"]).write_text(json.dumps(rows))
    def get_password(self, service, name):
        return self._all().get(service + name)
    def set_password(self, service, name, text):
        self._keep(self._all() | {service + name: text})
    def delete_password(self, service, name):
        rows = self._all()
        del rows[service + name]
        self._keep(rows)

class BrokenKeyring(FileKeyring):
    """A keyring that always fails, e.g. because there is no desktop session."""
    def set_password(self, service, name, text):
        raise RuntimeError("no session")

class ForgetfulKeyring(FileKeyring):
    def set_password(self, service, name, text):
        pass
'''


@pytest.fixture
def keyring(other: Cli, tmp_path: Path) -> Cli:
    """The machine `other`, with a keyring."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "test_keyrings.py").write_text(KEYRING)
    other.environ["PYTHONPATH"] += f"{os.pathsep}{tmp_path / 'modules'}"
    other.environ |= {
        "TEST_KEYRING": str(tmp_path / "keyring.json"),
        "PYTHON_KEYRING_BACKEND": "test_keyrings.FileKeyring",
    }
    return other


def test_secrets_are_stored_in_the_keyring_if_there_is_one(keyring: Cli, vault: Vault, tmp_path: Path) -> None:
    keyring.ok("vault", "connect", credentials_file(vault, tmp_path / "file"), "--save-key")
    rows = json.loads((tmp_path / "keyring.json").read_text())
    assert len(rows) == 2 and any("restore" in text for text in rows.values())
    master = base64.b64encode(vault.keys.master).decode()
    assert any(master in text for text in rows.values())
    for path in keyring.home.rglob("*"):
        assert not path.is_file() or master not in path.read_text(errors="replace")
    bare: dict[str, str | None] = {"RPDRIVE_PASSPHRASE": None}
    keyring.ok("points", env=bare)
    # If the keyring disappears later, that is an error, and not a vault without a role.
    gone = bare | {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    assert "keyring" in keyring.fails("points", code=11, env=gone)
    keyring.ok("vault", "disconnect")
    assert json.loads((tmp_path / "keyring.json").read_text()) == {}


@pytest.mark.parametrize(
    "backend", ["test_keyrings.BrokenKeyring", "test_keyrings.ForgetfulKeyring", "no.such.One"]
)
def test_a_keyring_that_fails_is_treated_as_missing(
    keyring: Cli, vault: Vault, tmp_path: Path, backend: str
) -> None:
    keyring.environ["PYTHON_KEYRING_BACKEND"] = backend
    keyring.ok("vault", "connect", credentials_file(vault, tmp_path / "file"), "--save-key")
    assert not (tmp_path / "keyring.json").exists()
    kept = [p for p in keyring.home.rglob("*.json") if p.parent.name in ("keys", "connections")]
    assert len(kept) == 2 and {stat.S_IMODE(p.stat().st_mode) for p in kept} == {0o600}
    keyring.ok("points", env={"RPDRIVE_PASSPHRASE": None})


def test_a_connection_that_others_can_read_is_refused(vault: Vault, other: Cli, tmp_path: Path) -> None:
    other.ok("vault", "connect", credentials_file(vault, tmp_path / "file"))
    (path,) = [p for p in other.home.rglob("*.json") if p.parent.name == "connections"]
    path.chmod(0o644)
    assert "open to other users" in other.fails("points", code=11)


# --- renewal ------------------------------------------------------------------------------------------------


def test_an_open_session_goes_on_with_a_renewed_token(
    azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_KEY"):
        monkeypatch.delenv(name, raising=False)
    azurite.container("renewal")
    url = f"azure://{ACCOUNT}/renewal"
    vault = new_vault(AzureStore(ACCOUNT, "renewal", environ=azurite.environ))
    monkeypatch.setenv("RPDRIVE_PASSPHRASE", PASSPHRASE)
    settings = Settings({"RPDRIVE_HOME": str(tmp_path / "home")})

    def given(lifetime: timedelta) -> Credentials:
        token = make_token(ACCOUNT, "renewal", Role.RESTORE, lifetime, environ=azurite.environ)
        now = datetime.now(UTC)
        # The file has a late expiry: only the token expires, and only the server knows.
        return Credentials(url, vault.id, Role.RESTORE, now, now + DAY, token)

    Session(settings).connect(given(DAY))
    Connections(settings).save(given(-timedelta(minutes=5)))  # an expired token
    session = Session(settings)
    store = session.open_store()
    for _ in range(2):
        with pytest.raises(AccessDenied):
            store.get("vault.json", MOST)
    with pytest.raises(AccessDenied):
        Session(settings).connect(given(-timedelta(minutes=5)))
    Session(settings).connect(given(DAY))
    assert store.get("vault.json", MOST) == vault.store.get("vault.json", MOST)
    assert [info.name for info in store.list("vault")] == ["vault.json", "vault/1.json"]
    # Credentials that don't open the vault are not remembered: the valid ones stay.
    monkeypatch.setenv("RPDRIVE_PASSPHRASE", "a wrong passphrase, long enough")
    with pytest.raises(WrongPassphrase):
        Session(settings).connect(given(DAY))
    monkeypatch.setenv("RPDRIVE_PASSPHRASE", PASSPHRASE)
    Session(settings).open_vault()
    # Credentials in the environment come first.
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    own = Session(settings, vault=url)
    assert own.credentials() is None
    own.open_store().create("by-the-key", [b"1"])
    assert vault.store.get("by-the-key", MOST) == b"1"


def test_a_damaged_connection_is_an_error_of_this_machine(vault: Vault, tmp_path: Path) -> None:
    settings = Settings({"RPDRIVE_HOME": str(tmp_path / "home")})
    connections = Connections(settings)
    connections.save(issue(vault.store.url, vault.id, Role.RESTORE))
    path = tmp_path / "home" / "state" / "connections" / f"{vault.id.hex()}.json"
    path.write_text(json.dumps({"vault": vault.id.hex(), "role": "admin"}))
    with pytest.raises(LocalError, match="damaged"):
        connections.load(vault.id, vault.store.url)
