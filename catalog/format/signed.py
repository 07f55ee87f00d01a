"""Signed records: sealed objects that only an admin can make. docs/format.md, "Signed records"."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Annotated, TypeAlias

import msgspec

from catalog.errors import Damaged
from catalog.format.admins import Admin, sign
from catalog.format.blocks import Buffer
from catalog.format.keys import Keys
from catalog.format.message import decode
from catalog.format.sealed import Kind, open_object, seal_object

SIGNED = frozenset((Kind.RETENTION, Kind.PLACES, Kind.LEDGER, Kind.MARKS))

_KeyId: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
_Signature: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
_encoder = msgspec.msgpack.Encoder()


@cache
def _decoder() -> msgspec.msgpack.Decoder[tuple[bytes, bytes, bytes]]:
    return msgspec.msgpack.Decoder(tuple[bytes, _KeyId, _Signature])  # when one is read: few vaults have such


def signed_message(vault_id: bytes, name: str, content: Buffer) -> bytes:
    """The bytes that are signed for a content under a name."""
    return b"rpdrive/1 signed" + vault_id + name.encode() + hashlib.sha256(content).digest()


def seal_signed(
    keys: Keys, admin: Admin, private: bytes, kind: Kind, name: str, content: bytes, *, salt: bytes | None = None
) -> bytes:
    """The sealed bytes of a signed record. `private` is the admin's key. Raises Unwritable if it is too large."""
    assert kind in SIGNED
    signature = sign(private, signed_message(keys.vault_id, name, content))
    return seal_object(keys, kind, name, _encoder.encode((content, admin.id, signature)), salt=salt)


def open_signed(keys: Keys, admins: Sequence[Admin], kind: Kind, name: str, data: Buffer) -> bytes:
    """The content of the signed record stored under `name`.

    Raises Damaged, also if no admin of the vault signed it under this name, or NewerFormat.
    """
    content, signer, signature = decode(_decoder(), open_object(keys, kind, name, data), name)
    message = signed_message(keys.vault_id, name, content)
    for admin in admins:
        if admin.id == signer and admin.verify(message, signature):
            return content
    raise Damaged(f"{name} is not signed by an admin of this vault")


def signer_of(keys: Keys, kind: Kind, name: str, data: Buffer) -> bytes:
    """The id of the key that a record says it is signed with. Raises Damaged or NewerFormat."""
    return decode(_decoder(), open_object(keys, kind, name, data), name)[1]
