"""What an Azure account and a container do to keep blobs, as far as the credentials may read it.

Container soft delete, and the account's own settings of versions and policies, are answered by Azure Resource
Manager only, and not by the storage that a token opens: they stay unknown here, and what they do to objects is read
from objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.storage.blob import BlobServiceClient, ContainerClient, ImmutabilityPolicy

from catalog.store.protection import Fact, Lock, State

LOCKS = ["immutabilitypolicy", "legalhold"]  # what a listing includes
VERSIONS, SOFT_DELETE, CONTAINER_SOFT_DELETE = "versions", "soft delete", "container soft delete"
LOCKED_VERSIONS, CONTAINER_POLICY = "locked versions", "container policy"
LEGAL_HOLD, PUBLIC = "legal hold", "public access"
OBJECT_LOCK, FIXED = "lock of the newest object", "fixed lock"
_NOT_ALLOWED = "these credentials may not read it"
_REFUSED = {400, 401, 403, 404, 405, 409, 501}
_NEVER = 2**63 - 1  # ns: a legal hold has no end
T = TypeVar("T")


def service_facts(client: ContainerClient, transport: Any) -> list[Fact]:
    """The account's blob soft delete. One request; needs the account key or a token for the account."""
    service = BlobServiceClient(
        client.url.partition("?")[0].rsplit("/", 1)[0],
        credential=_credential(client),
        transport=transport,
        retry_total=0,
    )
    kept = _asked(lambda: service.get_service_properties()["delete_retention_policy"])
    if kept is None:
        fact = Fact(SOFT_DELETE, State.UNKNOWN, detail=_NOT_ALLOWED)
    else:
        fact = Fact(SOFT_DELETE, State.ON if kept.enabled else State.OFF, kept.days if kept.enabled else None)
    return [fact, Fact(CONTAINER_SOFT_DELETE, State.UNKNOWN, detail="only Azure Resource Manager says it")]


def container_facts(client: ContainerClient) -> list[Fact]:
    """What the container says of itself. One request; a token for one container may not read it."""
    found = _asked(client.get_container_properties)
    if found is None:
        names = (LOCKED_VERSIONS, CONTAINER_POLICY, LEGAL_HOLD, PUBLIC)
        return [Fact(name, State.UNKNOWN, detail=_NOT_ALLOWED) for name in names]
    versions = _state(found.immutable_storage_with_versioning_enabled)
    policy = _state(found.has_immutability_policy)
    if versions is State.ON:
        # A container of which versions can be locked has no policy that forbids overwriting.
        policy = State.OFF
    return [
        Fact(LOCKED_VERSIONS, versions),
        Fact(CONTAINER_POLICY, policy),
        Fact(LEGAL_HOLD, _state(found.has_legal_hold)),
        Fact(PUBLIC, State.ON if found.public_access else State.OFF),
    ]


def object_facts(blobs: Sequence[Any]) -> list[Fact]:
    """Whether the newest of some blobs has a version and a lock. One request for each blob."""
    found = [row for blob in blobs if (row := _asked(blob.get_blob_properties)) is not None]
    if not found:
        return [
            Fact(name, State.UNKNOWN, detail="no object can be read") for name in (VERSIONS, OBJECT_LOCK, FIXED)
        ]
    newest = max(found, key=lambda row: row.last_modified)
    of = f"of {newest.last_modified.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    has = "has a version" if newest.version_id else "has no version"
    versions = Fact(VERSIONS, _state(bool(newest.version_id)), detail=f"the newest object looked at, {of}, {has}")
    lock = lock_of("", newest)
    if lock.until is None:
        return [versions, Fact(OBJECT_LOCK, State.OFF), Fact(FIXED, State.OFF)]
    if lock.until == _NEVER:
        detail = "a legal hold, until somebody takes it away"
        return [versions, Fact(OBJECT_LOCK, State.ON, detail=detail), Fact(FIXED, State.OFF)]
    days = (lock.until // 10**9 - int(newest.last_modified.timestamp())) // 86_400
    detail = "nobody can shorten it" if lock.fixed else "whoever may set policies can remove it"
    fixed = Fact(FIXED, State.ON if lock.fixed else State.OFF, days if lock.fixed else None, detail)
    return [versions, Fact(OBJECT_LOCK, State.ON, days), fixed]


def lock_of(name: str, row: Any) -> Lock:
    """The lock in the properties of a blob. A legal hold is one without end."""
    if row.has_legal_hold:
        return Lock(name, _NEVER, False)
    policy = row.immutability_policy
    if policy is None or policy.expiry_time is None:
        return Lock(name, None, False)
    until = int(policy.expiry_time.timestamp()) * 10**9
    return Lock(name, until, str(policy.policy_mode or "").lower() == "locked")


def policy(until: int, fixed: bool) -> ImmutabilityPolicy:
    """The policy for one blob until a time (ns since the epoch), as the SDK takes it."""
    return ImmutabilityPolicy(
        expiry_time=datetime.fromtimestamp(until // 10**9, UTC), policy_mode="Locked" if fixed else "Unlocked"
    )


def _state(value: bool | None) -> State:
    return State.UNKNOWN if value is None else State.ON if value else State.OFF


def _asked(request: Callable[[], T]) -> T | None:
    """The answer; None if it was refused, or there is no such thing."""
    with _refused():
        return request()
    return None


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except ClientAuthenticationError:
        pass
    except HttpResponseError as error:
        if error.status_code not in _REFUSED:
            raise


def _credential(client: ContainerClient) -> Any:
    credential: Any = client.credential
    if hasattr(credential, "account_key"):
        return {"account_name": client.account_name, "account_key": credential.account_key}
    return credential
