"""Azure credentials from the environment."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from catalog.errors import AccessDenied, UsageError
from catalog.store.protection import State
from catalog.store.scheme import Rights

if TYPE_CHECKING:
    from azure.core.credentials import AzureSasCredential
    from azure.storage.blob import ContainerClient

CONNECTION_STRING = "AZURE_STORAGE_CONNECTION_STRING"
SAS_TOKEN = "AZURE_STORAGE_SAS_TOKEN"
KEY = "AZURE_STORAGE_KEY"
ENDPOINT = "AZURE_STORAGE_SERVICE_ENDPOINT"
ALLOW_HTTP = "RPDRIVE_ALLOW_HTTP"
_VARIABLES = (CONNECTION_STRING, SAS_TOKEN, KEY, ENDPOINT)
# The clouds of Azure, and the accounts with a DNS zone of their own.
_AZURE = (
    r"blob\.(?:core\.windows\.net|core\.chinacloudapi\.cn|core\.usgovcloudapi\.net)"
    r"|z[0-9]+\.blob\.storage\.azure\.net"
)
ACCOUNT_KEY, USER_DELEGATION = "account key", "user delegation"  # what signs a token


def of_account(account: str, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment as it is for one account.

    `AZURE_STORAGE_KEY__ACCOUNT` and the like are for that account alone. If one is set, the variables without an
    account are for others: a key, a token or an endpoint never goes to an account that it does not belong to.
    """
    own = {name: value for name in _VARIABLES if (value := _value(f"{name}__{account}", environ))}
    if not own:
        return environ
    return {name: value for name, value in environ.items() if name not in _VARIABLES} | own


def _value(name: str, environ: Mapping[str, str]) -> str | None:
    return environ.get(name) or environ.get(name.upper())  # as Windows has it


def in_environment(environ: Mapping[str, str]) -> bool:
    """Whether the environment (of an account) holds credentials."""
    return any(environ.get(name) for name in (CONNECTION_STRING, SAS_TOKEN, KEY))


def rights(environ: Mapping[str, str], token: str | None) -> Rights:
    """What the credentials may do that `container_client` would use; `environ` is that of the account."""
    text = environ.get(CONNECTION_STRING)
    if text:
        fields = {key.strip().lower(): value for key, _, value in (f.partition("=") for f in text.split(";"))}
        if "accountkey" not in fields:
            return _of_sas(fields.get("sharedaccesssignature", ""), "the token in the environment")
    if text or (environ.get(KEY) and not environ.get(SAS_TOKEN)):
        return Rights("the account key in the environment", State.ON, State.ON, State.ON)
    if sas := environ.get(SAS_TOKEN):
        return _of_sas(sas, "the token in the environment")
    if token is not None:
        return _of_sas(token, "this machine's token")
    return Rights("the account that is signed in", State.UNKNOWN, State.UNKNOWN, State.UNKNOWN)


def _of_sas(sas: str, what: str) -> Rights:
    fields = parse_qs(sas.lstrip("?"))
    given = "".join(fields.get("sp", []))
    if not given:  # a stored access policy of the container says it
        return Rights(what, State.UNKNOWN, State.UNKNOWN, State.UNKNOWN, _end_of(fields))
    # x and y delete versions and what soft delete keeps, i sets locks; a token for the account may change it.
    services = "srt" in fields and "s" in fields["srt"][0] and "w" in given
    wanted = ("d", "w", "xyi")
    found = [State.ON if any(p in given for p in some) else State.OFF for some in wanted]
    return Rights(what, found[0], found[1], State.ON if services else found[2], _end_of(fields))


def _end_of(fields: Mapping[str, list[str]]) -> int | None:
    """When a token ends, ns since the epoch (UTC); None if it does not say so."""
    try:
        end = datetime.fromisoformat(fields["se"][0])
        return int((end if end.tzinfo else end.replace(tzinfo=UTC)).timestamp()) * 10**9
    except (LookupError, ValueError, OverflowError):
        return None


def container_client(
    account: str, container: str, environ: Mapping[str, str], *, sas: AzureSasCredential | None = None,
    endpoint: str | None = None, **options: Any,
) -> ContainerClient:  # fmt: skip
    """A client with the first of: connection string, SAS token, account key, `sas`, DefaultAzureCredential.

    The first three come from the variables of the `az` command, or those of the account (`of_account`);
    AZURE_STORAGE_SERVICE_ENDPOINT replaces
    https://ACCOUNT.blob.core.windows.net. `endpoint` is the one of `sas`. Raises UsageError if a credential is
    malformed or belongs to another account, or if the endpoint has no TLS, and AccessDenied if there is none.
    """
    from azure.core.credentials import AzureSasCredential
    from azure.storage.blob import ContainerClient

    environ = of_account(account, environ)
    try:
        if text := environ.get(CONNECTION_STRING):
            _check_account(text, account)
            client = ContainerClient.from_connection_string(text, container, **options)
            check_endpoint(client.url, environ)
            return client
        if in_environment(environ):
            sas = endpoint = None
        url = environ.get(ENDPOINT) or endpoint or f"https://{account}.blob.core.windows.net"
        check_endpoint(url, environ)
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


def check_endpoint(url: str, environ: Mapping[str, str]) -> None:
    """Raise UsageError unless an endpoint has TLS, or is on this machine, or the environment allows plain http.

    Over plain http, everybody on the way can read the token and use it.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(
            "the endpoint of the vault's store is not an https:// address",
            f"correct or unset {ENDPOINT}, or ask for new credentials (docs/azure.md)",
        )
    if not (_is_loopback(parts.hostname) or environ.get(ALLOW_HTTP) == "1"):
        raise UsageError(
            f"the endpoint {parts.scheme}://{parts.netloc} has no TLS: others could read and use the token",
            f"use https, or set {ALLOW_HTTP}=1 if you trust every network on the way",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def foreign_endpoint(account: str, endpoint: str | None) -> str | None:
    """The endpoint of a token if it is not one of Azure's for this account."""
    if endpoint is None:
        return None
    try:
        parts = urlsplit(endpoint)
        name, _dot, zone = (parts.hostname or "").partition(".")
        own = parts.scheme == "https" and parts.port in (None, 443) and not parts.username and name == account
    except ValueError:
        return endpoint
    return None if own and re.fullmatch(_AZURE, zone) else endpoint


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
