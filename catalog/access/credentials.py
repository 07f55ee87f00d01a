"""Vault credentials: a file with a vault's address and an access token limited to a role and a time.

    {"format": "rpdrive vault credentials", "version": 1, "address": …, "vault": <id>, "role": …,
     "issued": …, "expires": …, "token": {"sas": …, "signed_by": …, "endpoint": … or null} or null}

The file never contains the passphrase. Times are ISO 8601, UTC. The token's first field is named by its scheme
(`Tokens.field`); this is Azure's. `token` is null for a folder, where the role is advice that rpdrive follows.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from catalog.access.settings import Settings
from catalog.errors import LocalError, NewerFormat, UsageError
from catalog.store.address import normal_address, scheme_of
from catalog.store.roles import Grant, Role
from catalog.store.scheme import Token, Tokens

FORMAT = "rpdrive vault credentials"
VERSION = 1
DEFAULT_LIFETIME = timedelta(days=10)


class Credentials(msgspec.Struct, frozen=True):
    """The contents of a vault credentials file. `token` is None if the kind of store has no tokens."""

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
    def foreign_endpoint(self) -> str | None:
        """The URL to which the token and all requests go if the address does not lead there by itself."""
        return self.tokens.foreign_endpoint(self.address, self.token) if self.tokens and self.token else None

    @property
    def grant(self) -> Grant:
        expires = int(self.expires.timestamp()) * 10**9
        if self.token is None:
            return Grant(self.role, expires)
        return Grant(self.role, expires, self.token.text, self.token.endpoint)

    def to_json(self) -> dict[str, Any]:
        """The file's contents, including the token."""
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
        """Parse the file's contents. Raises UsageError and NewerFormat, which never quote the secret token."""
        if not isinstance(row, dict) or row.get("format") != FORMAT:
            raise UsageError("it is not a vault credentials file", "make one with `rpdrive vault credentials`")
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
            raise UsageError("it is damaged", "ask for a new copy of the file") from e
        return found


def read_credentials(data: bytes, name: str) -> Credentials:
    """Parse a vault credentials file. Raises UsageError, e.g. if it is truncated, and NewerFormat."""
    try:
        row = json.loads(data)
    except (ValueError, RecursionError) as e:
        if FORMAT.encode() in data:
            raise UsageError(
                f"the vault credentials file {name} is truncated or damaged",
                "ask for a new copy of the file",
            ) from e
        raise UsageError(
            f"{name} is not a vault credentials file", "make one with `rpdrive vault credentials`"
        ) from e
    try:
        return Credentials.from_json(row)
    except (UsageError, NewerFormat) as e:
        raise type(e)(f"the file {name} can't be used: {e}", e.advice) from e


def issue(
    address: str, vault_id: bytes, role: Role, lifetime: timedelta | None = None, *, locks: bool = False
) -> Credentials:
    """Make credentials that last for `lifetime`; None: DEFAULT_LIFETIME, or less if the token can't last so long.

    With `locks`, the holder may lock objects, too. The token, if the store has tokens, is made with the credentials
    of the environment. Raises UsageError if these don't allow the lifetime, AccessDenied if they can't make tokens,
    and StoreUnreachable.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    tokens = scheme_of(address).tokens
    if tokens is None:
        return Credentials(address, vault_id, role, now, now + (lifetime or DEFAULT_LIFETIME))
    token = tokens.make(address, role, lifetime or DEFAULT_LIFETIME, longest=lifetime is None, locks=locks)
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
        raise ValueError("not a string")
    return value


# --- connections --------------------------------------------------------------------------------------------


class Connections:
    """The credentials that connect this machine to vaults, one for each place of a vault.

    Those of the first place are stored by the vault's id alone, as earlier versions did; the others' names end with
    a digest of the address.
    """

    def __init__(self, settings: Settings) -> None:
        from catalog.access.secrets import Secrets

        self.secrets = Secrets(settings, "connections", "connection", "rpdrive vault connect FILE")

    def load(self, vault_id: bytes, address: str) -> Credentials | None:
        """The credentials for the vault at an address; None if this machine is not connected to it there.

        Raises LocalError.
        """
        own = self._load(vault_id, _suffix(address))
        if own is None:
            own = self._load(vault_id, "")
        return own if own is not None and own.address == address else None

    def _load(self, vault_id: bytes, suffix: str) -> Credentials | None:
        row = self.secrets.load(vault_id, suffix)
        if row is None:
            return None
        try:
            return Credentials.from_json(row)
        except (UsageError, NewerFormat) as e:
            raise self.secrets.damaged(vault_id, suffix) from e

    def save(self, credentials: Credentials) -> None:
        """Remember credentials in place of the earlier ones for the same address. Raises LocalError."""
        self.secrets.save(
            credentials.vault_id, credentials.to_json(), self._named(credentials.vault_id, credentials.address)
        )

    def delete(self, vault_id: bytes, address: str) -> bool:
        """Forget the credentials for the vault at an address. False if there were none. Raises LocalError."""
        return self.secrets.delete(vault_id, self._named(vault_id, address))

    def _named(self, vault_id: bytes, address: str) -> str:
        """Which file is that of an address: the one by the vault's id, unless it is another address's."""
        try:
            plain = self._load(vault_id, "")
        except LocalError:
            return ""  # damaged: it is replaced
        return "" if plain is None or plain.address == address else _suffix(address)


def _suffix(address: str) -> str:
    return "-" + hashlib.sha256(address.encode(errors="surrogateescape")).hexdigest()[:8]
