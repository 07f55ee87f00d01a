"""AzureStore alone: requests on the wire, network faults, credentials, addresses."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas

from catalog.errors import (
    AccessDenied,
    ObjectExists,
    ObjectNotFound,
    ShortRead,
    StoreError,
    StoreUnreachable,
    UsageError,
)
from catalog.store.address import open_store
from catalog.store.azure.scheme import AzureScheme
from catalog.store.azure.store import AzureStore
from catalog.store.base import Part, Range
from catalog.store.retrying import RetryingStore
from tests.kit.azurite import ACCOUNT, KEY, Azurite
from tests.kit.faults import LostAnswerStore
from tests.kit.proxy import Proxy, running_proxy
from tests.kit.stores import MOST

CONNECTION_STRING = "AZURE_STORAGE_CONNECTION_STRING"


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[Proxy]:
    with running_proxy(azurite.endpoint) as way:
        yield way


@pytest.fixture
def around(azurite: Azurite) -> ContainerClient:
    return azurite.container(f"azure-{secrets.token_hex(6)}")


@pytest.fixture
def store(proxy: Proxy, azurite: Azurite, around: ContainerClient) -> Iterator[AzureStore]:
    environ = {CONNECTION_STRING: azurite.connection_string_for(proxy.endpoint)}
    store = AzureStore(ACCOUNT, around.container_name, environ=environ)
    yield store
    store.close()


@pytest.fixture
def impatient(proxy: Proxy, azurite: Azurite, around: ContainerClient) -> Iterator[AzureStore]:
    """Like `store`, with a short timeout, for servers that never answer."""
    environ = {CONNECTION_STRING: azurite.connection_string_for(proxy.endpoint)}
    store = AzureStore(ACCOUNT, around.container_name, environ=environ, read_timeout=1)
    yield store
    store.close()


def test_each_method_sends_one_request(store: AzureStore, around: ContainerClient, proxy: Proxy) -> None:
    big = os.urandom(70 * 2**20)

    def sent(call: Callable[[], object]) -> list[str]:
        proxy.requests.clear()
        call()
        return [method for method, _ in proxy.requests]

    assert sent(lambda: store.create("packs/0a/big", [big])) == ["PUT"]
    assert sent(lambda: store.get("packs/0a/big", MOST)) == ["GET"]
    assert sent(lambda: store.read("packs/0a/big", 5, 65 * 2**20)) == ["GET"]
    assert sent(lambda: store.read("packs/0a/big", len(big) - 5, 100, up_to=True)) == ["GET"]
    assert sent(lambda: store.read("packs/0a/big", len(big), 100, up_to=True)) == ["GET"]
    assert sent(lambda: store.size("packs/0a/big")) == ["HEAD"]
    assert sent(lambda: list(store.list("packs/"))) == ["GET"]
    assert sent(lambda: list(store.list("none/"))) == ["GET"]
    assert sent(lambda: store.create("empty", [])) == ["PUT"]
    assert sent(lambda: store.get("empty", MOST)) == ["GET"]
    tag = store.get_tagged("packs/0a/big", MOST)[1]
    assert sent(lambda: store.replace("packs/0a/big", b"small", tag)) == ["PUT"]
    assert sent(lambda: store.delete("packs/0a/big")) == ["DELETE"]
    assert [blob.name for blob in around.list_blobs()] == ["empty"]


def test_azure_keeps_the_hash_of_what_was_sent(store: AzureStore, around: ContainerClient) -> None:
    store.create("pack", [b"123456789"])
    kept = around.get_blob_client("pack").get_blob_properties().content_settings.content_md5
    assert bytes(kept or b"").hex() == "25f9e794323b453885f5181f1b624d0b"


def requests_of(store: AzureStore) -> dict[str, Callable[[], Any]]:
    return {
        "create": lambda: store.create("new", [b"x" * 1000]),
        "replace": lambda: store.replace("held", b"y" * 1000, store_tag),
        "get": lambda: store.get("held", MOST),
        "read": lambda: store.read("held", 10, 500),
        "size": lambda: store.size("held"),
        "list": lambda: list(store.list("")),
        "delete": lambda: store.delete("held"),
    }


store_tag = '"0x0"'


@pytest.mark.parametrize("kind", ["create", "replace", "get", "read", "size", "list", "delete"])
@pytest.mark.parametrize("fault", ["busy", "throttled", "lost", "silent"])
def test_without_an_answer_the_store_is_unreachable(
    impatient: AzureStore, around: ContainerClient, proxy: Proxy, kind: str, fault: Any
) -> None:
    around.upload_blob("held", os.urandom(1000))
    proxy.faults = [fault]
    with pytest.raises(StoreUnreachable):
        requests_of(impatient)[kind]()
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("kind", ["create", "replace", "get", "read", "list", "delete"])
def test_a_captive_portal_is_not_mistaken_for_the_store(
    store: AzureStore, around: ContainerClient, proxy: Proxy, kind: str
) -> None:
    around.upload_blob("held", os.urandom(1000))
    proxy.faults = ["portal"]
    with pytest.raises(StoreUnreachable):
        requests_of(store)[kind]()


@pytest.mark.parametrize("kind", ["get", "read"])
def test_a_transfer_that_breaks_off_is_short(
    store: AzureStore, around: ContainerClient, proxy: Proxy, kind: str
) -> None:
    around.upload_blob("held", os.urandom(200_000))
    proxy.faults = ["cut"]
    with pytest.raises(ShortRead):
        requests_of(store)[kind]()
    assert len(proxy.requests) == 1, "the SDK must not send a request again by itself"


def test_transient_faults_are_retried(
    impatient: AzureStore, around: ContainerClient, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = RetryingStore(impatient, pause=lambda _: None)
    data = os.urandom(300_000)
    proxy.faults = ["busy", "lost", "throttled"]
    patient.create("packs/0a/pack", [data])
    assert around.download_blob("packs/0a/pack").readall() == data
    proxy.faults = ["cut", "silent", "busy", "portal"]
    assert patient.read("packs/0a/pack", 1000, 200_000) == data[1000:201_000]
    proxy.faults = ["lost"]
    patient.delete("packs/0a/pack")
    assert list(around.list_blobs()) == []
    monkeypatch.setattr("catalog.store.azure.store.LIST_PAGE", 3)
    names = [f"index/m/{number}" for number in range(8)]
    for name in names:
        around.upload_blob(name, b"")
    listing = patient.list("index/")
    assert next(listing).name == names[0]
    proxy.faults = ["busy", "lost"]
    assert [info.name for info in listing] == names[1:]


def test_a_changed_upload_is_refused(store: AzureStore, around: ContainerClient) -> None:
    """Azure compares Content-MD5 with what arrived, so that damage in transit is not stored."""
    from catalog.store.azure.transport import Transport

    send = Transport.send

    def damaging(self: Any, request: Any, **options: Any) -> Any:
        if request.method == "PUT":
            request.set_bytes_body(b"Data")
        return send(self, request, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transport, "send", damaging)
        # Azure's code is Md5Mismatch, which is retried; Azurite's does not name the cause.
        with pytest.raises(StoreError):
            store.create("pack", [b"data"])
    assert list(around.list_blobs()) == []


def test_a_missing_server_is_unreachable(azurite: Azurite) -> None:
    with running_proxy(azurite.endpoint) as gone:
        environ = {CONNECTION_STRING: azurite.connection_string_for(gone.endpoint)}
    store = AzureStore(ACCOUNT, "contract", environ=environ)
    for call in requests_of(store).values():
        with pytest.raises(StoreUnreachable):
            call()


def test_a_missing_container_is_neither_a_missing_object_nor_an_empty_vault(azurite: Azurite) -> None:
    store = AzureStore(ACCOUNT, "no-such-container", environ=azurite.environ)
    for call in requests_of(store).values():
        with pytest.raises(StoreError, match="has no container no-such-container") as caught:
            call()
        assert type(caught.value) is StoreError


def sas(around: ContainerClient, permission: str, hours: float = 1) -> str:
    return generate_container_sas(
        ACCOUNT,
        around.container_name,
        account_key=KEY,
        permission=ContainerSasPermissions.from_string(permission),
        expiry=datetime.now(UTC) + timedelta(hours=hours),
    )


def with_sas(azurite: Azurite, around: ContainerClient, token: str) -> AzureStore:
    environ = {"AZURE_STORAGE_SAS_TOKEN": token, "AZURE_STORAGE_SERVICE_ENDPOINT": azurite.endpoint}
    return AzureStore(ACCOUNT, around.container_name, "below/here", environ=environ)


@pytest.mark.parametrize("mark", ["", "?"])
def test_a_sas_token_opens_the_container(azurite: Azurite, around: ContainerClient, mark: str) -> None:
    store = with_sas(azurite, around, mark + sas(around, "rcwdl"))
    store.create("vault.json", [b"1"])
    data, tag = store.get_tagged("vault.json", MOST)
    store.replace("vault.json", data + b"2", tag)
    assert [info.name for info in store.list("")] == ["vault.json"]
    assert around.download_blob("below/here/vault.json").readall() == b"12"
    store.delete("vault.json")


def test_an_account_key_opens_the_container(azurite: Azurite, around: ContainerClient) -> None:
    environ = {"AZURE_STORAGE_KEY": KEY, "AZURE_STORAGE_SERVICE_ENDPOINT": azurite.endpoint}
    AzureStore(ACCOUNT, around.container_name, environ=environ).create("pack", [b"data"])
    assert around.download_blob("pack").readall() == b"data"


def test_each_account_has_variables_of_its_own(azurite: Azurite, around: ContainerClient) -> None:
    """What is for all accounts is not used for one that has its own: no key of another one reaches it."""
    others = {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=another;AccountKey=a2V5", "PATH": "/bin"}
    for account in (ACCOUNT, ACCOUNT.upper()):  # as Windows has the names of variables
        own = {f"AZURE_STORAGE_KEY__{account}": KEY, f"AZURE_STORAGE_SERVICE_ENDPOINT__{account}": azurite.endpoint}
        AzureStore(ACCOUNT, around.container_name, environ=others | own).create(f"pack-{account}", [b"data"])
    with pytest.raises(UsageError, match="is for account another"):
        AzureStore(ACCOUNT, around.container_name, environ=others | {"AZURE_STORAGE_KEY__another": KEY})
    tokens = AzureScheme().tokens
    assert [
        tokens.in_environment(f"azure://{one}/container", {"AZURE_STORAGE_KEY__second": KEY})
        for one in ("first", "second")
    ] == [False, True]


def test_a_token_that_may_not_write_is_denied(azurite: Azurite, around: ContainerClient) -> None:
    around.upload_blob("below/here/held", b"x" * 1000)
    store = with_sas(azurite, around, sas(around, "rl"))
    for kind in ("create", "replace", "delete"):
        with pytest.raises(AccessDenied):
            requests_of(store)[kind]()
    assert store.get("held", MOST) == b"x" * 1000


def test_a_token_that_may_only_create_sees_what_exists(azurite: Azurite, around: ContainerClient) -> None:
    store = with_sas(azurite, around, sas(around, "rcl"))
    store.create("pack", [b"data"])
    with pytest.raises(ObjectExists):
        store.create("pack", [b"other"])
    RetryingStore(LostAnswerStore(store), pause=lambda _: None).create("more", [b"data"])
    with pytest.raises(AccessDenied):
        store.replace("pack", b"other", store.get_tagged("pack", MOST)[1])
    with pytest.raises(AccessDenied):
        store.delete("pack")
    assert [blob.name for blob in around.list_blobs()] == ["below/here/more", "below/here/pack"]
    assert around.download_blob("below/here/pack").readall() == b"data"


def test_an_expired_token_is_denied(azurite: Azurite, around: ContainerClient) -> None:
    store = with_sas(azurite, around, sas(around, "rcwdl", hours=-1))
    for call in requests_of(store).values():
        with pytest.raises(AccessDenied):
            call()


def test_no_error_shows_the_token(azurite: Azurite, around: ContainerClient, proxy: Proxy) -> None:
    token = sas(around, "rl")
    signature = token.rpartition("sig=")[2].partition("&")[0]
    endpoints = {"AZURE_STORAGE_SERVICE_ENDPOINT": proxy.endpoint, "AZURE_STORAGE_SAS_TOKEN": token}
    store = AzureStore(ACCOUNT, around.container_name, environ=endpoints)
    gone = {**endpoints, "AZURE_STORAGE_SERVICE_ENDPOINT": "http://127.0.0.1:1/devstoreaccount1"}
    seen = []
    for fault in ("busy", "lost", "cut", "portal", None):
        for call in requests_of(store).values():
            proxy.faults = [fault] if fault else []
            try:
                call()
            except StoreError as error:
                seen.append(f"{error} {error.advice}")
    try:
        AzureStore(ACCOUNT, around.container_name, environ=gone).get("held", MOST)
    except StoreUnreachable as error:
        seen.append(str(error))
    assert len(seen) > 20
    assert signature not in "".join([*seen, store.url])


@pytest.mark.parametrize(
    "environ",
    [
        {CONNECTION_STRING: "nonsense"},
        {CONNECTION_STRING: "AccountName=otheraccount;AccountKey=c2VjcmV0"},
        {"AZURE_STORAGE_KEY": "c2VjcmV0", "AZURE_STORAGE_SERVICE_ENDPOINT": "ftp://x"},
    ],
)
def test_malformed_credentials(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        AzureStore(ACCOUNT, "container", environ=environ)
    assert "c2VjcmV0" not in str(caught.value)


def test_a_key_that_is_no_key_is_denied(azurite: Azurite) -> None:
    environ = {"AZURE_STORAGE_KEY": "!", "AZURE_STORAGE_SERVICE_ENDPOINT": azurite.endpoint}
    with pytest.raises(AccessDenied):
        AzureStore(ACCOUNT, "contract", environ=environ).get("vault.json", MOST)


def test_without_credentials_the_error_says_which_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)  # as if the extra were not installed
    with pytest.raises(AccessDenied) as caught:
        AzureStore("account", "container", environ={})
    for word in ("rpdrive[identity]", CONNECTION_STRING, "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_KEY"):
        assert word in caught.value.advice


def test_an_address_opens_the_store(
    azurite: Azurite, around: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONNECTION_STRING, azurite.connection_string)
    url = f"azure://{ACCOUNT}/{around.container_name}/some/where"
    store = open_store(url)
    assert store.url == url
    store.create("vault.json", [b"data"])
    assert around.download_blob("some/where/vault.json").readall() == b"data"
    with pytest.raises(ObjectExists):
        store.create("vault.json", [b"data"])
    with pytest.raises(ObjectNotFound):
        open_store(f"azure://{ACCOUNT}/{around.container_name}/some").get("vault.json", MOST)
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "relative/folder",
        "azure://",
        "azure://account",
        "azure://account/",
        "azure://Account/container",
        "azure://account/Container",
        "azure://account/a",
        "azure://account/a--b",
        "s3://bucket/prefix",
        "file://host/path",
        "file://",
        "https://account.blob.core.windows.net/container",
    ],
)
def test_malformed_addresses(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(url)
    assert "file:///PATH" in caught.value.advice


def test_a_prefix_can_not_leave_the_container(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONNECTION_STRING, azurite.connection_string)
    with pytest.raises(StoreError):
        open_store(f"azure://{ACCOUNT}/container/a/../b")


def test_the_sdk_stays_out_until_an_azure_vault_is_opened() -> None:
    code = (
        "import sys, catalog.store.address as a; a.open_store('/none').close()\n"
        "sys.exit('azure' in sys.modules or 'requests' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_azure_itself_copies_what_an_object_is_put_together_from(
    azurite: Azurite, around: ContainerClient, proxy: Proxy
) -> None:
    """Azurite has no Put Block From URL: the proxy stands in for that one call."""
    environ = {
        "AZURE_STORAGE_SAS_TOKEN": sas(around, "rcwdl"), "AZURE_STORAGE_SERVICE_ENDPOINT": proxy.endpoint,
    }  # fmt: skip
    store = AzureStore(ACCOUNT, around.container_name, "below/here", environ=environ)
    data = os.urandom(500_000)
    store.create("packs/00/one", [data])
    proxy.copies = True
    proxy.requests.clear()
    parts: list[Part] = [b"head", Range("packs/00/one", 1000, 300_000), Range("packs/00/one", 0, 10)]
    modified = store.compose("packs/00/carrier", parts)
    methods = [method for method, _ in proxy.requests]
    assert methods == ["PUT"] * 3 + ["GET", "PUT"], "no byte of the range came here"
    assert store.get("packs/00/carrier", MOST) == b"head" + data[1000:301_000] + data[:10]
    assert modified in {info.modified for info in store.list("packs/00/carrier")}
    with pytest.raises(ObjectExists):
        store.compose("packs/00/carrier", parts)
    # What Azure won't copy is read, which says why.
    with pytest.raises(ObjectNotFound):
        store.compose("packs/00/next", [Range("packs/00/none", 0, 1)])
    with pytest.raises(ShortRead):
        store.compose("packs/00/next", [Range("packs/00/one", 499_990, 11)])
    with pytest.raises(ShortRead):
        store.compose("packs/00/next", [Range("packs/00/one", 500_000, 1)])
    assert [info.name for info in store.list("packs/00/next")] == []
    # A store that has no such call is asked once.
    proxy.copies = False
    proxy.requests.clear()
    for name in ("a", "b"):
        store.compose(f"packs/00/{name}", [Range("packs/00/one", 0, 10)])
    assert [method for method, _ in proxy.requests] == ["PUT", "GET", "PUT", "PUT", "GET", "PUT", "PUT"]


def test_what_azure_copies_from_is_readable_to_it(azurite: Azurite, around: ContainerClient) -> None:
    """The source of a range has a token of its own where the client signs each request with the account's key."""
    store = AzureStore(ACCOUNT, around.container_name, "a-b", environ=azurite.environ)
    store.create("packs/00/one", [b"data"])
    url, options = store._source("packs/00/one")
    assert options == {}
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"data"
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(url.replace("packs/00/one", "packs/00/two"))


def test_snapshots_do_not_keep_a_blob_from_being_deleted(store: AzureStore, around: ContainerClient) -> None:
    store.create("pack", [b"data"])
    around.get_blob_client("pack").create_snapshot()
    store.delete("pack")
    assert list(around.list_blobs(include=["snapshots"])) == []
