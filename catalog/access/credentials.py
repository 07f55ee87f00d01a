"""Vault credentials: a file with a vault's address and a role-scoped, expiring access token. No passphrase.

    {"format": "rpdrive vault credentials", "version": 1, "address": …, "vault": <id>, "role": …,
     "issued": …, "expires": …, "token": {"sas": …, "signed_by": …, "endpoint": … or null} or null}

Times are ISO 8601, UTC. `token` is null for a folder: there the role is advice, which rpdrive follows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from catalog.access.settings import Settings
from catalog.errors import NewerFormat, UsageError
from catalog.store.address import normal_address, scheme_of
from catalog.store.roles import Grant, Role
from catalog.store.scheme import Token, Tokens

FORMAT = "rpdrive vault credentials"
VERSION = 1
DEFAULT_LIFETIME = timedelta(days=10)


@dataclass(frozen=True)
class Credentials:
    """The contents of such a file. `token` is None if the kind of store has no tokens."""

    address: str
    vault_id: bytes
    role: Role
    issued: datetime
    expires: datetime
    token: Token | None = None

    @property
    def tokens(self) -> Tokens | None:
        """The tokens of this kind of store; None if it has none, and the role is advice."""
        return scheme_of(self.address).tokens

    @property
    def grant(self) -> Grant:
        expires = int(self.expires.timestamp()) * 10**9
        if self.token is None:
            return Grant(self.role, expires)
        return Grant(self.role, expires, self.token.text, self.token.endpoint)

    def to_json(self) -> dict[str, Any]:
        """The file's content. It holds the token."""
        tokens, token = self.tokens, self.token
        return {
            "format": FORMAT,
            "version": VERSION,
            "address": self.address,
            "vault": self.vault_id.hex(),
            "role": str(self.role),
            "issued": _text(self.issued),
            "expires": _text(self.expires),
            "token": tokens
            and token
            and {tokens.field: token.text, "signed_by": token.signed_by, "endpoint": token.endpoint},
        }

    @classmethod
    def from_json(cls, row: Any) -> Credentials:
        """UsageError, NewerFormat. What is wrong is said without quoting it: it may be the token."""
        if not isinstance(row, dict) or row.get("format") != FORMAT:
            raise UsageError("it holds no vault credentials", "they are made by `rpdrive vault credentials`")
        if row.get("version") != VERSION:
            raise NewerFormat("it was written by a newer rpdrive")
        try:
            address = normal_address(row["address"])
            tokens, expires = scheme_of(address).tokens, _time(row["expires"])
            if tokens is None and row["token"] is not None:
                raise ValueError("a token for a store that has none")
            found = cls(
                address=address,
                vault_id=bytes.fromhex(row["vault"]),
                role=Role(row["role"]),
                issued=_time(row["issued"]),
                expires=expires,
                token=None if tokens is None else _token(row["token"], tokens.field, expires),
            )
            if len(found.vault_id) != 16:
                raise ValueError("not a vault's id")
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as e:
            raise UsageError("it is damaged", "ask for it again: it must arrive as it was made") from e
        return found


def read_credentials(data: bytes, name: str) -> Credentials:
    """The credentials in a file's bytes. UsageError (also if it was cut short), NewerFormat."""
    try:
        row = json.loads(data)
    except (ValueError, RecursionError) as e:
        if FORMAT.encode() in data:
            raise UsageError(
                f"the vault credentials {name} are cut short or damaged",
                "ask for them again: they must arrive as they were made",
            ) from e
        raise UsageError(
            f"{name} holds no vault credentials", "they are made by `rpdrive vault credentials`"
        ) from e
    try:
        return Credentials.from_json(row)
    except (UsageError, NewerFormat) as e:
        raise type(e)(f"the file {name} can't be used: {e}", e.advice) from e


def issue(address: str, vault_id: bytes, role: Role, lifetime: timedelta | None = None) -> Credentials:
    """New credentials, good for `lifetime` from now; for DEFAULT_LIFETIME, or as long as may be, if None.

    A token, where the store has such, is made with the credentials of the environment. Raises AccessDenied,
    UsageError or another StoreError.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    tokens = scheme_of(address).tokens
    if tokens is None:
        return Credentials(address, vault_id, role, now, now + (lifetime or DEFAULT_LIFETIME))
    token = tokens.make(address, role, lifetime or DEFAULT_LIFETIME, longest=lifetime is None)
    return Credentials(address, vault_id, role, now, token.expires, token)


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _token(row: Any, field: str, expires: datetime) -> Token:
    endpoint = row["endpoint"]
    return Token(
        _string(row[field]), _string(row["signed_by"]), expires, None if endpoint is None else _string(endpoint)
    )


def _string(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("not a text")
    return value


# --- connections --------------------------------------------------------------------------------------------


class Connections:
    """The credentials by which this machine is connected to vaults, one each."""

    def __init__(self, settings: Settings) -> None:
        from catalog.access.secrets import Secrets

        self.secrets = Secrets(settings, "connections", "connection", "rpdrive vault connect FILE")

    def load(self, vault_id: bytes) -> Credentials | None:
        """None if it isn't connected. LocalError."""
        row = self.secrets.load(vault_id)
        if row is None:
            return None
        try:
            found = Credentials.from_json(row)
        except (UsageError, NewerFormat) as e:
            raise self.secrets.damaged(vault_id) from e
        return found

    def save(self, credentials: Credentials) -> None:
        """In place of what there was. LocalError."""
        self.secrets.save(credentials.vault_id, credentials.to_json())

    def delete(self, vault_id: bytes) -> bool:
        """False if it wasn't connected. LocalError."""
        return self.secrets.delete(vault_id)
