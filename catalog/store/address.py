"""Addresses of vaults, and the registered kinds of stores that they name."""

from __future__ import annotations

import os

from catalog.errors import UsageError
from catalog.program import user_path
from catalog.store.azure.scheme import AzureScheme
from catalog.store.base import Store
from catalog.store.folder import FolderScheme
from catalog.store.scheme import Scheme

_FOLDERS = FolderScheme()
_schemes: dict[str, Scheme] = {}


def register(scheme: Scheme) -> None:
    """Make a kind of store available under its name."""
    _schemes[scheme.name] = scheme


register(_FOLDERS)
register(AzureScheme())


def forms() -> list[str]:
    """The forms of addresses, for help and messages."""
    return [form for scheme in _schemes.values() for form in scheme.forms]


def scheme_of(url: str) -> Scheme:
    """The scheme of an address. Raises UsageError if no scheme accepts it."""
    scheme = _named(url)
    if scheme is None or not scheme.accepts(url):
        *some, last = forms()
        raise UsageError(f"{url!r} is not the address of a vault", f"an address is {', '.join(some)} or {last}")
    return scheme


def open_store(url: str, *, token: str | None = None, endpoint: str | None = None) -> Store:
    """Open the store at an address, without wrappers (see stack.py) and without a request.

    `token` and `endpoint` are those of vault credentials. Raises UsageError if the address or the credentials in
    the environment are malformed, and AccessDenied if there are no credentials.
    """
    return scheme_of(url).open(url, token=token, endpoint=endpoint)


def normal_address(text: str) -> str:
    """An address in its normal spelling: folders as file://, and no slash at the end. Raises UsageError."""
    if "://" not in text:
        text = os.path.abspath(user_path(text))
    scheme = _named(text)
    return text.rstrip("/") if scheme is None else scheme.normal(text)


def local_folder(url: str) -> str | None:
    """The folder at an address; None if the store is not a folder. Raises UsageError if it is malformed."""
    scheme = _named(url)
    return None if scheme is None else scheme.folder(url)


def _named(url: str) -> Scheme | None:
    name, separator, _rest = url.partition("://")
    return _schemes.get(name) if separator else _FOLDERS
