"""Azure credentials from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from catalog.errors import AccessDenied, UsageError

if TYPE_CHECKING:
    from azure.core.credentials import AzureSasCredential
    from azure.storage.blob import ContainerClient

CONNECTION_STRING = "AZURE_STORAGE_CONNECTION_STRING"
SAS_TOKEN = "AZURE_STORAGE_SAS_TOKEN"
KEY = "AZURE_STORAGE_KEY"
ENDPOINT = "AZURE_STORAGE_SERVICE_ENDPOINT"
ACCOUNT_KEY, USER_DELEGATION = "account key", "user delegation"  # what signs a token


def in_environment(environ: Mapping[str, str]) -> bool:
    """Whether the environment holds credentials."""
    return any(environ.get(name) for name in (CONNECTION_STRING, SAS_TOKEN, KEY))


def container_client(
    account: str, container: str, environ: Mapping[str, str], *, sas: AzureSasCredential | None = None,
    endpoint: str | None = None, **options: Any,
) -> ContainerClient:  # fmt: skip
    """A client with the first of: connection string, SAS token, account key, `sas`, DefaultAzureCredential.

    The first three come from the variables of the `az` command; AZURE_STORAGE_SERVICE_ENDPOINT replaces
    https://ACCOUNT.blob.core.windows.net. `endpoint` is the one of `sas`. Raises UsageError if a credential is
    malformed or belongs to another account, and AccessDenied if there is none.
    """
    from azure.core.credentials import AzureSasCredential
    from azure.storage.blob import ContainerClient

    try:
        if text := environ.get(CONNECTION_STRING):
            _check_account(text, account)
            return ContainerClient.from_connection_string(text, container, **options)
        if in_environment(environ):
            sas = endpoint = None
        url = environ.get(ENDPOINT) or endpoint or f"https://{account}.blob.core.windows.net"
        if urlsplit(url).scheme not in ("http", "https"):
            raise UsageError(
                f"{ENDPOINT} is not an https:// address", f"correct or unset {ENDPOINT} (docs/azure.md)"
            )
        credential: Any
        if token := environ.get(SAS_TOKEN):
            credential = AzureSasCredential(token.lstrip("?"))
        elif key := environ.get(KEY):
            credential = {"account_name": account, "account_key": key}
        elif sas is not None:
            credential = sas
        else:
            credential = _default_credential(account)
        return ContainerClient(url, container, credential=credential, **options)
    except ValueError as error:
        # Without the SDK's message: it may quote the secret.
        raise UsageError(
            f"the credentials for Azure account {account} in the environment are malformed",
            f"check {CONNECTION_STRING}, {SAS_TOKEN} or {KEY} (docs/azure.md)",
        ) from error


def _check_account(connection_string: str, account: str) -> None:
    fields = (field.partition("=") for field in connection_string.split(";"))
    names = [value.strip() for key, _, value in fields if key.strip().lower() == "accountname"]
    if names and names[0] != account:
        raise UsageError(
            f"{CONNECTION_STRING} is for account {names[0]}, but the vault's address names {account}",
            "use the connection string of the account in the vault's address",
        )


def _default_credential(account: str) -> Any:
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError as error:
        raise AccessDenied(
            f"there are no credentials for Azure account {account}",
            f"set {CONNECTION_STRING}, {SAS_TOKEN} or {KEY}, or install rpdrive[identity] to sign in with "
            "a managed identity, a service principal or `az login` (docs/azure.md)",
        ) from error
    return DefaultAzureCredential()
