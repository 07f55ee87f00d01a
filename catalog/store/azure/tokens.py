"""Access tokens for a container of Azure Blob Storage: a SAS with the permissions of a role."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from catalog.errors import AccessDenied, StoreUnreachable, UsageError
from catalog.store.azure.credentials import (
    ACCOUNT_KEY,
    CONNECTION_STRING,
    KEY,
    SAS_TOKEN,
    USER_DELEGATION,
    container_client,
)
from catalog.store.roles import Role
from catalog.store.scheme import Token

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient

DELEGATION_DAYS = 7  # Azure's limit for a SAS signed by a user-delegation key
# i (locks) is not part of a role: its holder may lock all objects for centuries, which nobody can undo.
# No role gets x (delete versions) or y (delete for ever): what versions and soft delete keep, no token takes away.
_PERMISSIONS = {Role.RESTORE: "rl", Role.BACKUP: "rcl", Role.MAINTAIN: "rcdl", Role.ADMIN: "rcwdl"}
_PATIENCE: dict[str, Any] = {"retry_total": 2, "initial_backoff": 1, "increment_base": 1}


def make_token(
    account: str,
    container: str,
    role: Role,
    lifetime: timedelta,
    *,
    longest: bool = False,
    locks: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Token:
    """Make a token that lasts for `lifetime`, with the credentials of the environment.

    With `locks`, its holder may lock blobs, too.
        DefaultAzureCredential can sign for DELEGATION_DAYS at most: a longer `lifetime` is shortened to that if
    `longest`; otherwise it raises UsageError. Raises AccessDenied if the credentials can't make tokens, and
    StoreUnreachable.
    """
    from azure.storage.blob import BlobServiceClient

    from catalog.store.azure.transport import Transport

    client = container_client(account, container, os.environ if environ is None else environ)
    endpoint = client.url.split("?")[0].rsplit("/", 1)[0]
    own = None if endpoint == f"https://{account}.blob.core.windows.net" else endpoint
    credential: Any = client.credential
    allowed = _PERMISSIONS[role] + ("i" if locks else "")
    now = datetime.now(UTC).replace(microsecond=0)
    if hasattr(credential, "account_key"):
        expires = now + lifetime
        sas = _sign(account, container, allowed, expires, endpoint, account_key=credential.account_key)
        return Token(sas, ACCOUNT_KEY, expires, own)
    if not hasattr(credential, "get_token"):
        raise AccessDenied(
            f"the SAS in the environment can't make a token for Azure account {account}",
            f"unset {SAS_TOKEN}, and set {KEY} or a {CONNECTION_STRING} with an account key, or sign in "
            "(docs/credentials.md)",
        )
    limit = timedelta(days=DELEGATION_DAYS)
    if lifetime > limit and not longest:
        raise UsageError(
            f"a token signed by a user-delegation key lasts {DELEGATION_DAYS} days at most",
            f"ask for fewer days, or set {KEY} to sign it with the account key",
        )
    expires = now + min(lifetime, limit)
    with BlobServiceClient(endpoint, credential, transport=Transport(10.0, 30.0), **_PATIENCE) as service:
        return Token(
            delegated(service, account, container, allowed, expires, endpoint), USER_DELEGATION, expires, own
        )


def delegated(
    service: BlobServiceClient, account: str, container: str, allowed: str, expires: datetime, endpoint: str
) -> str:
    """Request a user-delegation key and sign a SAS with it. Raises AccessDenied and StoreUnreachable."""
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

    try:
        key = service.get_user_delegation_key(datetime.now(UTC) - timedelta(minutes=5), expires)
    except (ClientAuthenticationError, HttpResponseError) as e:
        code = getattr(e, "error_code", None) or "the sign-in failed"
        raise AccessDenied(
            f"Azure refused a user-delegation key for account {account}: {code}",
            "give the signed-in user the role Storage Blob Delegator and a data role on the container",
        ) from e
    except AzureError as e:
        raise StoreUnreachable(f"Azure account {account} did not answer") from e
    return _sign(account, container, allowed, expires, endpoint, user_delegation_key=key)


def _sign(account: str, container: str, allowed: str, expires: datetime, endpoint: str, **key: Any) -> str:
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    sas: str = generate_container_sas(
        account,
        container,
        permission=ContainerSasPermissions.from_string(allowed),
        expiry=expires,
        protocol="https" if endpoint.startswith("https:") else "https,http",
        **key,
    )
    return sas
