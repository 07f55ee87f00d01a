"""Key slots: a secret wrapped under a passphrase. docs/format.md, "Key slots".

Sources: Argon2id is RFC 9106 (parameters: its second recommended choice), Unicode normalisation form C is UAX #15.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from catalog.errors import Damaged, UsageError, WeakPassphrase, WrongPassphrase

SLOT = b"rpdrive/1 slot"  # the purpose of slots of the master key
MIN_PASSPHRASE = 16  # characters
MAX_KDF_MEMORY_KIB = 256 << 10  # 256 MiB
MAX_KDF_PASSES = 16
MAX_KDF_LANES = 64
MAX_KDF_SUM = 16 * (64 << 10) * 3  # KiB x passes of all slots: 16 times those of a slot as written
RESTORE = "run `rpdrive repair`, which puts a copy of vault.json back (docs/repair.md)"
_T = TypeVar("_T")
_ZERO_NONCE = bytes(12)  # each key used with it seals one message only


class KdfParameters(msgspec.Struct, frozen=True):
    """The cost parameters of Argon2id; memory in KiB."""

    memory_kib: int = 64 * 1024
    passes: int = 3
    lanes: int = 4

    def check(self) -> None:
        """Raise Damaged if out of bounds: hostile values could exhaust memory or time."""
        if not (
            8 * self.lanes <= self.memory_kib <= MAX_KDF_MEMORY_KIB
            and 1 <= self.passes <= MAX_KDF_PASSES
            and 1 <= self.lanes <= MAX_KDF_LANES
        ):
            raise Damaged(
                f"the vault's key slot asks for {self.memory_kib} KiB, {self.passes} passes, {self.lanes} lanes",
                RESTORE,
            )


class Slot(msgspec.Struct, frozen=True):
    """A secret of 32 bytes, usually the master key, wrapped under one passphrase."""

    id: str
    kdf: KdfParameters
    salt: bytes
    commitment: bytes
    wrapped: bytes
    created: str

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kdf": "argon2id",
            "memory_kib": self.kdf.memory_kib,
            "passes": self.kdf.passes,
            "lanes": self.kdf.lanes,
            "salt": b64(self.salt),
            "commitment": b64(self.commitment),
            "wrapped": b64(self.wrapped),
            "created": self.created,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Slot:
        kdf = KdfParameters(*(of(int, row[k]) for k in ("memory_kib", "passes", "lanes")))
        slot = cls(
            of(str, row["id"]),
            kdf,
            unb64(row["salt"]),
            unb64(row["commitment"]),
            unb64(row["wrapped"]),
            of(str, row["created"]),
        )
        if not slot.id.isascii() or (len(slot.salt), len(slot.commitment), len(slot.wrapped)) != (16, 32, 48):
            raise ValueError("slot")
        return slot


SLOT_FIELDS = frozenset(("id", "kdf", "memory_kib", "passes", "lanes", "salt", "commitment", "wrapped", "created"))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def unb64(text: str) -> bytes:
    return base64.b64decode(of(str, text), validate=True)


def of(kind: type[_T], value: Any) -> _T:
    if type(value) is not kind:  # not isinstance: JSON's true is no number
        raise TypeError(f"not {kind.__name__}")
    return value


def check_passphrase(passphrase: str) -> None:
    """Raise WeakPassphrase if the passphrase has fewer than 16 characters."""
    if len(unicodedata.normalize("NFC", passphrase)) < MIN_PASSPHRASE:
        raise WeakPassphrase(
            f"the passphrase has fewer than {MIN_PASSPHRASE} characters",
            f"choose at least {MIN_PASSPHRASE} characters, e.g. several random words",
        )


def _slot_keys(passphrase: str, kdf: KdfParameters, salt: bytes) -> tuple[bytes, bytes]:
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    kdf.check()
    try:
        text = unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError as e:
        raise UsageError("the passphrase is not UTF-8") from e
    both = Argon2id(
        salt=salt, length=64, iterations=kdf.passes, lanes=kdf.lanes, memory_cost=kdf.memory_kib
    ).derive(text)
    return both[:32], both[32:]


def _slot_ad(purpose: bytes, vault_id: bytes, kdf: KdfParameters, slot_id: str) -> bytes:
    return purpose + vault_id + f"|{kdf.memory_kib}|{kdf.passes}|{kdf.lanes}|{slot_id}".encode()


def make_slot(
    secret: bytes,
    vault_id: bytes,
    passphrase: str,
    created: str,
    *,
    purpose: bytes = SLOT,
    kdf: KdfParameters = KdfParameters(),
    salt: bytes | None = None,
    slot_id: str | None = None,
) -> Slot:
    """Wrap a secret of 32 bytes, usually the master key, under a passphrase. `created` is UTC in ISO 8601."""
    check_passphrase(passphrase)
    salt = os.urandom(16) if salt is None else salt
    slot_id = os.urandom(4).hex() if slot_id is None else slot_id
    key, commitment_key = _slot_keys(passphrase, kdf, salt)
    ad = _slot_ad(purpose, vault_id, kdf, slot_id)
    wrapped = AESGCM(key).encrypt(_ZERO_NONCE, secret, ad)
    commitment = hmac.digest(commitment_key, ad, hashlib.sha256)
    return Slot(slot_id, kdf, salt, commitment, wrapped, created)


def open_slot(slot: Slot, vault_id: bytes, passphrase: str, *, purpose: bytes = SLOT) -> bytes:
    """The secret in a slot. Raises WrongPassphrase, or Damaged if the slot was changed."""
    key, commitment_key = _slot_keys(passphrase, slot.kdf, slot.salt)
    ad = _slot_ad(purpose, vault_id, slot.kdf, slot.id)
    if not hmac.compare_digest(hmac.digest(commitment_key, ad, hashlib.sha256), slot.commitment):
        raise WrongPassphrase("no key of this vault opens with this passphrase")
    try:
        return AESGCM(key).decrypt(_ZERO_NONCE, slot.wrapped, ad)
    except InvalidTag as e:
        raise Damaged("the vault's key slot has been changed", RESTORE) from e


def check_costs(slots: Sequence[Slot]) -> None:
    """Raise Damaged if trying all these slots would cost too much memory or time. Derives nothing."""
    for slot in slots:
        slot.kdf.check()
    if sum(slot.kdf.memory_kib * slot.kdf.passes for slot in slots) > MAX_KDF_SUM:
        raise Damaged("the vault's key slots cost too much to try", RESTORE)
