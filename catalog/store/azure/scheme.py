"""Vaults in Azure Blob Storage: azure://ACCOUNT/CONTAINER[/PREFIX]."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from catalog.errors import UsageError
from catalog.store.azure.credentials import ACCOUNT_KEY, foreign_endpoint, in_environment, of_account, rights
from catalog.store.base import Store
from catalog.store.roles import Role
from catalog.store.scheme import Rights, Scheme, Token, Tokens

_FORM = "azure://ACCOUNT/CONTAINER[/PREFIX]"
_ADDRESS = (  # compiled for a vault in Azure only
    r"(?s)azure://(?P<account>[a-z0-9]{3,24})"
    r"/(?P<container>(?=[^/]{3,63}(?:/|\Z))[a-z0-9]+(?:-[a-z0-9]+)*)"
    r"(?:/(?P<prefix>.*))?"
)


class AzureAddress(NamedTuple):
    """`prefix` is "" or a path without slashes at its ends."""

    account: str
    container: str
    prefix: str


def azure_address(url: str) -> AzureAddress:
    """The parts of an address. Raises UsageError if it is malformed."""
    found = re.fullmatch(_ADDRESS, url)
    if found is None:
        raise UsageError(f"{url!r} is not the address of a container", f"an address is {_FORM}")
    return AzureAddress(found["account"], found["container"], (found["prefix"] or "").strip("/"))


class AzureTokens(Tokens):
    """SAS tokens for a whole container. The SDK is loaded when one is made."""

    field = "sas"
    variables = "AZURE_STORAGE_…"

    def in_environment(self, url: str, environ: Mapping[str, str]) -> bool:
        return in_environment(of_account(azure_address(url).account, environ))

    def make(
        self, url: str, role: Role, lifetime: timedelta, *, longest: bool = False, locks: bool = False
    ) -> Token:
        from catalog.store.azure.tokens import make_token

        place = azure_address(url)
        return make_token(place.account, place.container, role, lifetime, longest=longest, locks=locks)

    def describe(self, token: Token) -> str:
        signer = "the account key" if token.signed_by == ACCOUNT_KEY else "a user-delegation key (7 days at most)"
        return f"a SAS for the whole container, signed by {signer}"

    def revocation(self, token: Token) -> str:
        return "only a new account key ends it sooner" if token.signed_by == ACCOUNT_KEY else ""

    def rights(self, url: str, environ: Mapping[str, str], token: str | None) -> Rights:
        return rights(of_account(azure_address(url).account, environ), token)

    def foreign_endpoint(self, url: str, token: Token) -> str | None:
        return foreign_endpoint(azure_address(url).account, token.endpoint)

    def warnings(self, url: str) -> list[str]:
        if not azure_address(url).prefix:
            return []
        return ["the token opens the whole container, and every vault in it: give each vault its own container"]


class AzureScheme(Scheme):
    """Containers of Azure Blob Storage, and folders in them."""

    name = "azure"
    forms = (_FORM,)
    tokens = AzureTokens()

    def accepts(self, url: str) -> bool:
        return re.fullmatch(_ADDRESS, url) is not None

    def open(self, url: str, *, token: str | None = None, endpoint: str | None = None) -> Store:
        from catalog.store.azure.store import AzureStore

        return AzureStore(*azure_address(url), token=token, endpoint=endpoint)
