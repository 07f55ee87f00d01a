"""Sealed objects: every object but packs and vault.json. docs/format.md, "Sealed objects".

Each has its own key, derived from a fresh salt in the object. The associated data binds its kind, vault and full
name, so that objects can't be swapped, renamed or moved between vaults.
"""

from __future__ import annotations

import os
import struct
from enum import IntEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from catalog.errors import Damaged, NewerFormat, Unwritable
from catalog.format.blocks import Buffer, decode_frame, encode_frame
from catalog.format.keys import GENERATION, VERSION, Keys, derive

HEADER = struct.Struct(">4sBBH")  # magic, version, kind, generation of the key
MAGIC = b"RPDS"
SALT_BYTES = 32
MAX_OBJECT_RAW = 256 << 20
# Bytes of a sealed object in the store, by kind. No larger one is fetched, so none may be written.
MAX_SEALED_INDEX = 64 << 20
MAX_SEALED = 32 << 20  # every other kind
_ZERO_NONCE = bytes(12)  # each key is used once


class Kind(IntEnum):
    MACHINE = 1
    ITEM = 2
    POINT = 3
    INDEX = 4
    RETENTION = 5
    JOB = 6
    PLACES = 7
    LEDGER = 9
    CHECKS = 10
    MARKS = 11
    PLAN = 12
    SEED = 13


def max_sealed(kind: Kind) -> int:
    """How many bytes an object of this kind may have in the store."""
    return MAX_SEALED_INDEX if kind is Kind.INDEX else MAX_SEALED


def _key(keys: Keys, kind: Kind, salt: bytes) -> bytes:
    return derive(keys.index if kind is Kind.INDEX else keys.records, salt, b"rpdrive/1 object")


def seal_object(keys: Keys, kind: Kind, name: str, content: Buffer, *, salt: bytes | None = None) -> bytes:
    """The sealed bytes of an object to be stored under `name`.

    Raises Unwritable if it is larger than readers accept.
    """
    if memoryview(content).nbytes > MAX_OBJECT_RAW:
        raise Unwritable(f"{name} would hold {len(content)} bytes, more than the limit of {MAX_OBJECT_RAW}")
    salt = os.urandom(SALT_BYTES) if salt is None else salt
    header = HEADER.pack(MAGIC, VERSION, kind, GENERATION)
    ad = header + keys.vault_id + name.encode()
    sealed = AESGCM(_key(keys, kind, salt)).encrypt(_ZERO_NONCE, encode_frame(content), ad)
    size = len(header) + len(salt) + len(sealed)
    if size > max_sealed(kind):
        raise Unwritable(f"{name} would have {size} bytes, more than the limit of {max_sealed(kind)}")
    return header + salt + sealed


def open_object(keys: Keys, kind: Kind, name: str, data: Buffer) -> Buffer:
    """The content of the object stored under `name`. Raises Damaged or NewerFormat."""
    if len(data) < HEADER.size + SALT_BYTES:
        raise Damaged(f"{name} is truncated")
    view = memoryview(data)
    header = bytes(view[: HEADER.size])
    magic, version, got_kind, generation = HEADER.unpack(header)
    if magic != MAGIC:
        raise Damaged(f"{name} is not an rpdrive object")
    if version != VERSION:
        raise NewerFormat(f"{name} has format version {version}; this rpdrive reads version {VERSION}")
    if got_kind != kind:
        raise Damaged(f"{name} is an object of another kind")
    if generation != GENERATION:
        raise NewerFormat(f"{name} is sealed with key {generation}, which this rpdrive doesn't know")
    salt = bytes(view[HEADER.size : HEADER.size + SALT_BYTES])
    ad = header + keys.vault_id + name.encode()
    try:
        frame = AESGCM(_key(keys, kind, salt)).decrypt(_ZERO_NONCE, view[HEADER.size + SALT_BYTES :], ad)
    except (InvalidTag, ValueError) as e:
        raise Damaged(f"{name} has been changed, or was made for another name or vault") from e
    return decode_frame(frame, MAX_OBJECT_RAW, name)
