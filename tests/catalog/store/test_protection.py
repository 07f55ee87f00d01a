"""What keeps objects: locks, refused deletes, and what an account says of itself.

Azurite has neither versions nor policies. Where it has no answer, the proxy gives the one that Azure's
documentation describes; none of these answers was recorded on a real account.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from azure.storage.blob import ContainerClient, RetentionPolicy

from catalog.errors import (
    AccessDenied,
    NotSupported,
    ObjectImmutable,
    ObjectNotFound,
    StoreError,
    StoreUnreachable,
)
from catalog.store.azure.store import AzureStore
from catalog.store.azure.tokens import make_token
from catalog.store.local import LocalStore
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.store.protection import Fact, Lock, State
from catalog.store.retrying import RetryingStore
from catalog.store.roles import Grant, Role, RoleStore
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.proxy import Answer, Proxy, running_proxy

DAY = 24 * 3600 * 10**9
SECOND = 10**9


@pytest.fixture
def around(azurite: Azurite) -> ContainerClient:
    return azurite.container(f"protection-{secrets.token_hex(6)}")


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[Proxy]:
    with running_proxy(azurite.endpoint) as way:
        yield way


@pytest.fixture
def store(proxy: Proxy, azurite: Azurite, around: ContainerClient) -> Iterator[AzureStore]:
    environ = {"AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string_for(proxy.endpoint)}
    store = AzureStore(ACCOUNT, around.container_name, environ=environ)
    store.create("vault.json", [b"1"])
    yield store
    store.close()


def refusal(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message></Error>".encode()


def conflict(code: str, status: int = 409) -> Answer:
    return Answer(status, {"x-ms-error-code": code, "Content-Type": "application/xml"}, refusal(code))


def http_time(ns: int) -> str:
    return format_datetime(datetime.fromtimestamp(ns // SECOND, UTC), usegmt=True)


@pytest.mark.parametrize("code", ["BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold"])
def test_a_delete_that_a_policy_refuses_is_no_fault_of_the_credentials(
    store: AzureStore, proxy: Proxy, code: str
) -> None:
    store.create("packs/00/one", [b"1"])
    proxy.answers["DELETE", "packs/00/one"] = conflict(code)
    with pytest.raises(ObjectImmutable, match="kept by a policy") as caught:
        store.delete("packs/00/one")
    assert not isinstance(caught.value, AccessDenied)
    proxy.answers["PUT", "vault.json"] = conflict(code)
    with pytest.raises(ObjectImmutable):
        store.replace("vault.json", b"2", store.get_tagged("vault.json", 9)[1])
    proxy.answers.clear()
    proxy.answers["DELETE", "packs/00/one"] = conflict("AuthorizationPermissionMismatch", 403)
    with pytest.raises(AccessDenied):
        store.delete("packs/00/one")


def facts(store: AzureStore, *sample: str) -> dict[str, Fact]:
    return {fact.name: fact for fact in store.protection(sample)}


def test_what_azurite_says_of_itself(store: AzureStore, azurite: Azurite, around: ContainerClient) -> None:
    service = around._get_blob_service_client()
    service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=True, days=7))
    try:
        found = facts(store, "vault.json")
    finally:
        service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=False))
    assert found["soft delete"] == Fact("soft delete", State.ON, 7)
    found = facts(store, "vault.json")
    states = {name: fact.state for name, fact in found.items()}
    assert states == {
        "soft delete": "off", "container soft delete": "unknown", "versions": "off", "locked versions": "unknown",
        "container policy": "off", "legal hold": "off", "public access": "off", "lock of the newest object": "off",
        "fixed lock": "off",
    }  # fmt: skip
    assert found["versions"].detail.startswith("the newest object looked at, of ")


@pytest.mark.parametrize("role", [Role.BACKUP, Role.ADMIN])
def test_what_a_token_may_not_read_is_unknown(azurite: Azurite, around: ContainerClient, role: Role) -> None:
    around.upload_blob("vault.json", b"1")
    token = make_token(ACCOUNT, around.container_name, role, timedelta(hours=1), environ=azurite.environ)
    store = AzureStore(ACCOUNT, around.container_name, environ={}, token=token.text, endpoint=token.endpoint)
    found = facts(store, "vault.json", "no/such")
    unknown = {name for name, fact in found.items() if fact.state is State.UNKNOWN}
    assert unknown == {
        "soft delete", "container soft delete", "locked versions", "container policy", "legal hold",
        "public access",
    }  # fmt: skip
    assert {name for name, fact in facts(store).items() if fact.state is State.UNKNOWN} == set(found)
    store.close()


def test_no_answer_is_not_an_unknown_one(store: AzureStore, proxy: Proxy) -> None:
    proxy.faults = ["busy"]
    with pytest.raises(StoreUnreachable):
        store.protection(["vault.json"])
    proxy.faults = ["portal"]
    with pytest.raises(StoreError):
        store.protection(["vault.json"])


def test_what_azure_says_of_versions_and_policies(store: AzureStore, proxy: Proxy) -> None:
    now = time.time_ns() // SECOND * SECOND
    proxy.answers["GET", "restype=container"] = Answer(
        200,
        {
            "Last-Modified": http_time(now), "ETag": '"0x1"', "x-ms-has-immutability-policy": "true",
            "x-ms-has-legal-hold": "false", "x-ms-immutable-storage-with-versioning-enabled": "true",
        },
    )  # fmt: skip
    proxy.answers["HEAD", "vault.json"] = Answer(
        200,
        {
            "Last-Modified": http_time(now), "ETag": '"0x1"', "x-ms-blob-type": "BlockBlob",
            "x-ms-version-id": "2026-11-27T10:00:00.0000000Z", "x-ms-is-current-version": "true",
            "x-ms-immutability-policy-mode": "locked",
            "x-ms-immutability-policy-until-date": http_time(now + 30 * DAY),
        },
    )  # fmt: skip
    found = facts(store, "vault.json")
    assert found["versions"].state == found["locked versions"].state == State.ON
    assert found["container policy"].state is State.OFF, "versions that can be locked forbid no overwriting"
    lock = found["lock of the newest object"]
    assert (lock.state, lock.days) == (found["fixed lock"].state, found["fixed lock"].days) == (State.ON, 30)
    # A policy for the whole container, and a legal hold on an object.
    proxy.answers["GET", "restype=container"].headers["x-ms-immutable-storage-with-versioning-enabled"] = "false"  # type: ignore[index]
    headers = dict(proxy.answers["HEAD", "vault.json"].headers) | {"x-ms-legal-hold": "true"}
    proxy.answers["HEAD", "vault.json"] = Answer(200, headers)
    found = facts(store, "vault.json")
    assert (found["container policy"].state, found["locked versions"].state) == (State.ON, State.OFF)
    assert "legal hold" in found["lock of the newest object"].detail and found["fixed lock"].state is State.OFF
    headers = dict(headers) | {"x-ms-legal-hold": "false", "x-ms-immutability-policy-mode": "unlocked"}
    proxy.answers["HEAD", "vault.json"] = Answer(200, headers)
    found = facts(store, "vault.json")
    assert (found["lock of the newest object"].state, found["fixed lock"].state) == (State.ON, State.OFF)


LISTING = """<?xml version="1.0" encoding="utf-8"?>
<EnumerationResults><Prefix>packs/</Prefix><Blobs>
<Blob><Name>packs/00/fixed</Name><Properties><Last-Modified>{now}</Last-Modified><Etag>0x1</Etag>
<Content-Length>1</Content-Length><Content-Type>x</Content-Type><BlobType>BlockBlob</BlobType>
<ImmutabilityPolicyUntilDate>{until}</ImmutabilityPolicyUntilDate>
<ImmutabilityPolicyMode>locked</ImmutabilityPolicyMode></Properties></Blob>
<Blob><Name>packs/00/held</Name><Properties><Last-Modified>{now}</Last-Modified><Etag>0x1</Etag>
<Content-Length>1</Content-Length><Content-Type>x</Content-Type><BlobType>BlockBlob</BlobType>
<LegalHold>true</LegalHold></Properties></Blob>
<Blob><Name>packs/00/loose</Name><Properties><Last-Modified>{now}</Last-Modified><Etag>0x1</Etag>
<Content-Length>1</Content-Length><Content-Type>x</Content-Type><BlobType>BlockBlob</BlobType>
<ImmutabilityPolicyUntilDate>{until}</ImmutabilityPolicyUntilDate>
<ImmutabilityPolicyMode>unlocked</ImmutabilityPolicyMode></Properties></Blob>
<Blob><Name>packs/00/none</Name><Properties><Last-Modified>{now}</Last-Modified><Etag>0x1</Etag>
<Content-Length>1</Content-Length><Content-Type>x</Content-Type><BlobType>BlockBlob</BlobType></Properties></Blob>
</Blobs><NextMarker/></EnumerationResults>"""


def test_locks_are_listed_and_lengthened_by_one_request_each(store: AzureStore, proxy: Proxy) -> None:
    until = time.time_ns() // SECOND * SECOND + 30 * DAY
    body = LISTING.format(now=http_time(until - 30 * DAY), until=http_time(until)).encode()
    proxy.answers["GET", "comp=list"] = Answer(200, {"Content-Type": "application/xml"}, body)
    proxy.requests.clear()
    assert list(store.locks("packs/")) == [
        Lock("packs/00/fixed", until, True),
        Lock("packs/00/held", 2**63 - 1, False),
        Lock("packs/00/loose", until, False),
        Lock("packs/00/none", None, False),
    ]
    (listing,) = proxy.requests
    assert "include=immutabilitypolicy,legalhold" in listing[1].replace("%2C", ",")
    sent = []

    def noted(method: str, path: str, headers: dict[str, str]) -> None:
        sent.append((method, path.partition("?")[2], headers))

    proxy.answers["PUT", "comp=immutabilityPolicies"] = Answer(200)
    proxy.note = noted
    store.extend("packs/00/fixed", until + DAY, fixed=True)
    ((method, query, headers),) = sent
    assert (method, query) == ("PUT", "comp=immutabilityPolicies")
    assert headers["x-ms-immutability-policy-mode"] == "Locked"
    assert headers["x-ms-immutability-policy-until-date"] == http_time(until + DAY)
    proxy.answers["PUT", "comp=immutabilityPolicies"] = conflict("BlobNotFound", 404)
    with pytest.raises(ObjectNotFound):
        store.extend("packs/00/fixed", until, fixed=False)


def test_stores_without_locks_say_so(store: AzureStore, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(NotSupported):
        store.extend("vault.json", time.time_ns() + DAY, fixed=False)  # Azurite has no such call
    local = LocalStore(tmp_path_factory.mktemp("vault"))
    local.create("vault.json", [b"1"])
    with pytest.raises(NotSupported):
        local.extend("vault.json", time.time_ns() + DAY, fixed=False)
    with pytest.raises(NotSupported):
        list(local.locks(""))
    assert local.protection(["vault.json"]) == []


def test_locks_of_a_store_in_memory_pass_through_all_wrappers() -> None:
    now = [10 * DAY]
    memory = MemoryStore(clock=lambda: now[0])
    meter = MeteredStore(memory)
    grant = Grant(Role.MAINTAIN, time.time_ns() + 3600 * SECOND)
    store = RoleStore(RetryingStore(meter), grant, lambda: None)
    for name in ("packs/a", "packs/b"):
        store.create(name, [b"1"])
    store.extend("packs/a", 12 * DAY, fixed=True)
    assert list(store.locks("packs/")) == [Lock("packs/a", 12 * DAY, True), Lock("packs/b", None, False)]
    with pytest.raises(ObjectImmutable):
        store.delete("packs/a")
    with pytest.raises(ObjectImmutable):
        memory.replace("packs/a", b"2", store.get_tagged("packs/a", 9)[1])
    for until, fixed in ((11 * DAY, True), (13 * DAY, False)):
        with pytest.raises(StoreError, match="can't be shortened"):
            store.extend("packs/a", until, fixed=fixed)
    now[0] = 12 * DAY
    store.delete("packs/a")
    with pytest.raises(ObjectNotFound):
        store.extend("packs/a", 20 * DAY, fixed=False)
    assert store.protection(["packs/b"]) == []
    traffic = meter.snapshot()
    assert (traffic.extend.requests, traffic.list.requests, traffic.protection.requests) == (4, 1, 3)
    lesser = RoleStore(meter, Grant(Role.BACKUP, time.time_ns() + 3600 * SECOND), lambda: None)
    with pytest.raises(AccessDenied, match="can't lock objects"):
        lesser.extend("packs/b", 20 * DAY, fixed=False)
