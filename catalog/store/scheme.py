"""A kind of store: its addresses, how one is opened, and the access tokens that it may have.

A new kind of store is a file with its `Scheme` and `Store`, and a line in catalog/store/address.py. Every command
that uses a vault loads all schemes, so a scheme imports its SDK inside the methods that need it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from catalog.store.base import Store
from catalog.store.protection import State
from catalog.store.roles import Role


class Token(NamedTuple):
    """Access with the rights of a role until `expires` (UTC), which the store itself enforces.

    `text` is the secret, `signed_by` names the key that made it, and `endpoint` is the URL where the token is
    valid, None if the vault's address says so.
    """

    text: str
    signed_by: str
    expires: datetime
    endpoint: str | None = None


class Rights(NamedTuple):
    """What credentials may do to objects that exist. `what` names them; `protect`: switch protection off.

    `ends` is when they end, ns since the epoch (UTC); None if they don't, or it is not known.
    """

    what: str
    delete: State
    overwrite: State
    protect: State
    ends: int | None = None


class Tokens(ABC):
    """The access tokens of one kind of store."""

    field: str  # what a vault credentials file calls the token
    variables: str  # the environment variables with credentials, in words

    @abstractmethod
    def in_environment(self, url: str, environ: Mapping[str, str]) -> bool:
        """Whether the environment holds credentials for an address. They are used in place of any token."""

    @abstractmethod
    def make(
        self, url: str, role: Role, lifetime: timedelta, *, longest: bool = False, locks: bool = False
    ) -> Token:
        """Make a token that lasts for `lifetime`, with the credentials of the environment.

        `locks` lets it lock objects, too, and lengthen their locks, if the store has any.
        If these allow less, the token is as long as they allow if `longest`; otherwise raises UsageError. Raises
        AccessDenied if they can't make tokens, and StoreUnreachable.
        """

    @abstractmethod
    def describe(self, token: Token) -> str:
        """A phrase for users: what a token opens and which key signed it."""

    @abstractmethod
    def revocation(self, token: Token) -> str:
        """A phrase for users: how to end a token before it expires; "" if this needs no warning."""

    def rights(self, url: str, environ: Mapping[str, str], token: str | None) -> Rights:
        """What the credentials of the environment may do at an address, or else `token`. Sends no request."""
        return Rights("this machine's credentials", State.UNKNOWN, State.UNKNOWN, State.UNKNOWN)

    def foreign_endpoint(self, url: str, token: Token) -> str | None:
        """The token's endpoint if the vault's address does not name it: all requests would go there."""
        return token.endpoint

    @abstractmethod
    def warnings(self, url: str) -> list[str]:
        """Warnings for the person who hands out a token for the vault at an address."""


class Scheme(ABC):
    """A kind of store. Its addresses begin with `name://`."""

    name: str
    forms: tuple[str, ...]  # the forms of its addresses, for help and messages
    patience = 60.0  # seconds for which a request without an answer is repeated; 0: never
    tokens: Tokens | None = None  # None: roles are advice, enforced only by rpdrive

    @abstractmethod
    def accepts(self, url: str) -> bool:
        """Whether this is an address of the scheme. No I/O."""

    @abstractmethod
    def open(self, url: str, *, token: str | None = None, endpoint: str | None = None) -> Store:
        """Open the store at an accepted address, without a request.

        `token` and `endpoint` (see Token) are used unless the environment holds credentials. Raises UsageError if
        those are malformed, and AccessDenied if there are none.
        """

    def normal(self, url: str) -> str:
        """An address in its normal spelling. Raises UsageError if it is malformed."""
        return url.rstrip("/")

    def folder(self, url: str) -> str | None:
        """The folder of this machine at an address; None if the store is elsewhere. Raises UsageError."""
        return None
