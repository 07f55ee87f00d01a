"""Addresses of vaults: which store is meant."""

from __future__ import annotations

import os
import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from catalog.errors import UsageError
from catalog.store.base import Store

PATIENCE = 60.0  # seconds

_FORMS = "an address is file:///PATH, /PATH or azure://ACCOUNT/CONTAINER[/PREFIX]"
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")


class AzureAddress(NamedTuple):
    """`prefix` is "" or a path without slashes at its ends."""

    account: str
    container: str
    prefix: str


def local_path(url: str) -> str | None:
    """The folder that `url` means, or None if it means no folder of this machine."""
    if url.startswith("file://"):
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise UsageError(f"{url} is not the address of a folder", _FORMS)
        # Not parts.path: a folder's name may hold ? and #.
        return unquote(url.removeprefix("file://").removeprefix("localhost"), errors="surrogateescape")
    if "://" in url:
        return None
    if not url or not os.path.isabs(url):
        raise UsageError(f"{url!r} is not the address of a vault", _FORMS)
    return url


def azure_address(url: str) -> AzureAddress:
    """The parts of azure://ACCOUNT/CONTAINER[/PREFIX]. UsageError for anything else."""
    scheme, _, rest = url.partition("://")
    account, _, rest = rest.partition("/")
    container, _, prefix = rest.partition("/")
    if scheme != "azure" or not _ACCOUNT.fullmatch(account) or not _CONTAINER.fullmatch(container):
        raise UsageError(f"{url} is not the address of a vault", _FORMS)
    return AzureAddress(account, container, prefix.strip("/"))


def open_store(
    url: str, patience: float = PATIENCE, *, token: str | None = None, endpoint: str | None = None
) -> Store:
    """The store at an address. Nothing is asked of it yet.

    A request to Azure that gets no answer is repeated for `patience` seconds. `token` and `endpoint` (as those of
    AzureStore) count if the environment holds no credentials. UsageError if the address can't be understood;
    AccessDenied if there are no credentials for it.
    """
    folder = local_path(url)
    if folder is not None:
        from catalog.store.local import LocalStore

        return LocalStore(folder, url)
    address = azure_address(url)

    from catalog.store.azure.store import AzureStore
    from catalog.store.retrying import RetryingStore

    return RetryingStore(AzureStore(*address, token=token, endpoint=endpoint), patience)
