"""The keys that sign records of upkeep. docs/format.md, "Admins".

A machine that makes backups has the master key, and may create any object. What upkeep may take away is said by
records that are signed with a key of vault.json, which only an administrator can replace. The private key is
wrapped under a passphrase of its own, or under the master key: then it protects from nothing, but all works alike.
Ed25519 is RFC 8032.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import replace

from catalog.errors import Damaged, Locked, NewerFormat
from catalog.format.keys import Keys, expand
from catalog.format.slots import (
    RESTORE,
    SLOT_FIELDS,
    KdfParameters,
    Slot,
    b64,
    check_costs,
    make_slot,
    of,
    open_slot,
    unb64,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ALGORITHM = "ed25519"
KEY_ID_BYTES = 8
_ADMIN = b"rpdrive/1 admin"  # the purpose of slots of private keys
_BY_MASTER, _BY_PASSPHRASE = "master", "argon2id"
OWN_FIELDS = frozenset(("algorithm", "public"))
MASTER_FIELDS = frozenset(("id", "kdf", "wrapped", "created"))
_ZERO_NONCE = bytes(12)  # each key used with it seals one message only


def key_id(public: bytes) -> bytes:
    """The id of a public key, 8 bytes."""
    return hashlib.sha256(public).digest()[:KEY_ID_BYTES]


class Admin(msgspec.Struct, frozen=True):
    """A public key (32 bytes) that may sign records, and its private key, wrapped.

    `wrapped` (48 bytes) is the private key under the master key; `slot` has it under a passphrase instead. Both are
    empty if it is wrapped in a way that this version doesn't know.
    """

    public: bytes
    created: str
    wrapped: bytes = b""
    slot: Slot | None = None

    @property
    def id(self) -> bytes:
        return key_id(self.public)

    def to_json(self) -> dict[str, Any]:
        own = {"id": self.id.hex(), "algorithm": ALGORITHM, "public": b64(self.public)}
        if self.slot is not None:
            return own | self.slot.to_json()
        return own | {"kdf": _BY_MASTER, "wrapped": b64(self.wrapped), "created": self.created}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Admin:
        """An admin from vault.json. Raises ValueError, TypeError or KeyError."""
        admin, kdf = cls(unb64(row["public"]), of(str, row["created"])), of(str, row["kdf"])
        if len(admin.public) != 32 or of(str, row["id"]) != admin.id.hex():
            raise ValueError("admin")
        if kdf == _BY_PASSPHRASE:
            return replace(admin, slot=Slot.from_json(row))
        if kdf == _BY_MASTER:
            admin = replace(admin, wrapped=unb64(row["wrapped"]))
            if len(admin.wrapped) != 48:
                raise ValueError("admin")
        return admin

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether a signature over a message is one of this key."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
            return True
        except (InvalidSignature, ValueError):
            return False


def knows_admin(row: Mapping[str, Any]) -> bool:
    """Whether this version knows all fields of an admin."""
    known = {_BY_PASSPHRASE: SLOT_FIELDS, _BY_MASTER: MASTER_FIELDS}.get(row["kdf"], frozenset())
    return bool(row["algorithm"] == ALGORITHM and row.keys() <= OWN_FIELDS | known)


def make_admin(
    keys: Keys,
    private: bytes,
    created: str,
    passphrase: str | None = None,
    *,
    kdf: KdfParameters = KdfParameters(),
    salt: bytes | None = None,
) -> Admin:
    """An admin with this private key (32 random bytes), wrapped under a passphrase, else under the master key."""
    public = public_key(private)
    admin = Admin(public, created)
    if passphrase is None:
        return replace(admin, wrapped=_cipher(keys, public).encrypt(_ZERO_NONCE, private, _ad(keys, public)))
    slot = make_slot(
        private, keys.vault_id, passphrase, created, purpose=_ADMIN, kdf=kdf, salt=salt, slot_id=admin.id.hex()
    )
    return replace(admin, slot=slot)


def open_admin(keys: Keys, admin: Admin, passphrase: str | None = None) -> bytes:
    """The private key of an admin, 32 bytes.

    Raises Locked if it needs a passphrase, WrongPassphrase, Damaged, or NewerFormat for an unknown `kdf`.
    """
    if admin.slot is not None:
        if passphrase is None:
            raise Locked("the key that signs changes of this vault needs a passphrase of its own")
        check_costs([admin.slot])
        private = open_slot(admin.slot, keys.vault_id, passphrase, purpose=_ADMIN)
    elif admin.wrapped:
        try:
            private = _cipher(keys, admin.public).decrypt(_ZERO_NONCE, admin.wrapped, _ad(keys, admin.public))
        except InvalidTag as e:
            raise Damaged("an admin's key in vault.json has been changed", RESTORE) from e
    else:
        raise NewerFormat("an admin's key in vault.json is wrapped in a way that this rpdrive doesn't know")
    if public_key(private) != admin.public:
        raise Damaged("an admin's private key in vault.json is not that of its public key", RESTORE)
    return private


def sign(private: bytes, message: bytes) -> bytes:
    """The signature of a message under a private key, 64 bytes."""
    return _signer(private).sign(message)


def _signer(private: bytes) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(private)


def public_key(private: bytes) -> bytes:
    """The public key of a private one, 32 bytes each."""
    return _signer(private).public_key().public_bytes_raw()


def _cipher(keys: Keys, public: bytes) -> AESGCM:
    return AESGCM(expand(keys.admin_keys, _ADMIN + public))


def _ad(keys: Keys, public: bytes) -> bytes:
    return _ADMIN + keys.vault_id + f"|master|{key_id(public).hex()}".encode()
