"""The keys of a vault: unlocks the master key with a passphrase, and derives all others. docs/format.md, "Keys".

Sources: Argon2id is RFC 9106 (parameters: its second recommended choice), HKDF is RFC 5869 with SHA-256,
Unicode normalisation form C is UAX #15. Keys are 32 bytes everywhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from catalog.errors import Damaged, NewerFormat, UsageError, WeakPassphrase, WrongPassphrase

VERSION = 1  # of every format in docs/format.md
GENERATION = 0  # of the master key; packs and sealed objects say theirs, and others are newer
ID_BYTES = 16  # of a chunk id, as stored in extents and index
MIN_PASSPHRASE = 16  # characters
MAX_KDF_MEMORY_KIB = 256 << 10  # 256 MiB
MAX_KDF_PASSES = 16
MAX_KDF_LANES = 64
MAX_SLOTS = 32
MAX_DEPTH = 32  # of nested arrays and objects in vault.json
MAX_KDF_SUM = 16 * (64 << 10) * 3  # KiB x passes of all slots: 16 times those of a slot as written
MAX_VAULT_FILE = 1 << 20  # bytes
_RESTORE = "vault.json has been changed; restore it from a vault/<n>.json next to it"
_T = TypeVar("_T")
_ZERO_NONCE = bytes(12)  # each key used with it seals one message only


def expand(key: bytes, info: bytes, length: int = 32) -> bytes:
    """HKDF-Expand of a key that is uniformly random already."""
    return HKDFExpand(SHA256(), length, info).derive(key)


def derive(key: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF (extract and expand) to 32 bytes."""
    return HKDF(SHA256(), 32, salt, info).derive(key)


@dataclass(frozen=True)
class Keys:
    """All keys of one vault, from its master key (32 bytes) and its id (16 bytes)."""

    master: bytes = field(repr=False)
    vault_id: bytes

    def _purpose(self, name: str) -> bytes:
        return derive(self.master, self.vault_id, b"rpdrive/1 " + name.encode())

    @cached_property
    def chunk_ids(self) -> bytes:
        return self._purpose("chunk ids")

    @cached_property
    def data_packs(self) -> bytes:
        return self._purpose("data packs")

    @cached_property
    def tree_packs(self) -> bytes:
        return self._purpose("tree packs")

    @cached_property
    def records(self) -> bytes:
        return self._purpose("records")

    @cached_property
    def index(self) -> bytes:
        return self._purpose("index")

    @cached_property
    def vault_file(self) -> bytes:
        return self._purpose("vault file")

    @cached_property
    def cutter_seed(self) -> int:
        """63 bits (as many as the cutter takes) for the content-defined cutter."""
        return int.from_bytes(self._purpose("cutter seed")[:8], "big") >> 1

    def chunk_id(self, data: bytes | bytearray | memoryview) -> bytes:
        """The id of a chunk: the first 16 bytes of its keyed BLAKE3."""
        return blake3(data, key=self.chunk_ids).digest(length=ID_BYTES)


class FileDigest:
    """A file's digest: BLAKE3 over (length in 8 bytes, chunk id or 16 zeros for a hole) of each piece.

    Adjacent holes count as one, so that the digest does not depend on how a writer split them.
    """

    def __init__(self) -> None:
        self._hash = blake3()
        self._hole = 0  # bytes of the hole at the end of the pieces so far

    def add(self, length: int, chunk: bytes | None) -> None:
        """Add the next piece; a hole has None for `chunk`."""
        if chunk is None:
            self._hole += length
            return
        self._end_hole()
        self._hash.update(length.to_bytes(8, "big") + chunk)

    def digest(self) -> bytes:
        """The digest, 16 bytes. Nothing can be added afterwards."""
        self._end_hole()
        return self._hash.digest(length=ID_BYTES)

    def _end_hole(self) -> None:
        if self._hole:
            self._hash.update(self._hole.to_bytes(8, "big") + bytes(ID_BYTES))
        self._hole = 0


def file_digest(pieces: Iterable[tuple[int, bytes | None]]) -> bytes:
    """The digest (16 bytes) of pieces given as (length, chunk id or None)."""
    digest = FileDigest()
    for length, chunk in pieces:
        digest.add(length, chunk)
    return digest.digest()


# --- key slots and vault.json ----------------------------------------------------------------------------


@dataclass(frozen=True)
class KdfParameters:
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
                _RESTORE,
            )


@dataclass(frozen=True)
class Slot:
    """The master key, wrapped under one passphrase."""

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
            "salt": _b64(self.salt),
            "commitment": _b64(self.commitment),
            "wrapped": _b64(self.wrapped),
            "created": self.created,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Slot:
        kdf = KdfParameters(*(_of(int, row[k]) for k in ("memory_kib", "passes", "lanes")))
        slot = cls(
            _of(str, row["id"]),
            kdf,
            _unb64(row["salt"]),
            _unb64(row["commitment"]),
            _unb64(row["wrapped"]),
            _of(str, row["created"]),
        )
        if not slot.id.isascii() or (len(slot.salt), len(slot.commitment), len(slot.wrapped)) != (16, 32, 48):
            raise ValueError("slot")
        return slot


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(_of(str, text), validate=True)


def _of(kind: type[_T], value: Any) -> _T:
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


def _slot_ad(vault_id: bytes, kdf: KdfParameters, slot_id: str) -> bytes:
    return b"rpdrive/1 slot" + vault_id + f"|{kdf.memory_kib}|{kdf.passes}|{kdf.lanes}|{slot_id}".encode()


def make_slot(
    master: bytes,
    vault_id: bytes,
    passphrase: str,
    created: str,
    *,
    kdf: KdfParameters = KdfParameters(),
    salt: bytes | None = None,
    slot_id: str | None = None,
) -> Slot:
    """Wrap the master key under a passphrase. `created` is UTC in ISO 8601."""
    check_passphrase(passphrase)
    salt = os.urandom(16) if salt is None else salt
    slot_id = os.urandom(4).hex() if slot_id is None else slot_id
    key, commitment_key = _slot_keys(passphrase, kdf, salt)
    ad = _slot_ad(vault_id, kdf, slot_id)
    wrapped = AESGCM(key).encrypt(_ZERO_NONCE, master, ad)
    commitment = hmac.digest(commitment_key, ad, hashlib.sha256)
    return Slot(slot_id, kdf, salt, commitment, wrapped, created)


def open_slot(slot: Slot, vault_id: bytes, passphrase: str) -> bytes:
    """The master key. Raises WrongPassphrase, or Damaged if the passphrase is right but the slot was changed."""
    key, commitment_key = _slot_keys(passphrase, slot.kdf, slot.salt)
    ad = _slot_ad(vault_id, slot.kdf, slot.id)
    if not hmac.compare_digest(hmac.digest(commitment_key, ad, hashlib.sha256), slot.commitment):
        raise WrongPassphrase("no key of this vault opens with this passphrase")
    try:
        return AESGCM(key).decrypt(_ZERO_NONCE, slot.wrapped, ad)
    except InvalidTag as e:
        raise Damaged(
            "the vault's key slot has been changed", "restore vault.json from vault/<n>.json next to it"
        ) from e


@dataclass(frozen=True)
class VaultFile:
    """vault.json: public, authenticated under the master key. `number` counts its versions from 1.

    `parsed` is the JSON that `decode` read: the MAC also covers fields and slots that this version doesn't know.
    """

    vault_id: bytes
    number: int
    created: str
    slots: tuple[Slot, ...]
    mac: bytes = b""
    parsed: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    def _body(self) -> dict[str, Any]:
        return {
            "format": "rpdrive vault",
            "version": VERSION,
            "id": self.vault_id.hex(),
            "number": self.number,
            "created": self.created,
            "slots": [s.to_json() for s in self.slots],
        }

    def encode(self, keys: Keys) -> bytes:
        """The file's bytes. Raises NewerFormat if it was read with parts that this version would drop."""
        if self.parsed is not None and not _knows(self.parsed):
            raise NewerFormat("vault.json holds fields that this rpdrive doesn't know, so it can't change the file")
        row = self._body()
        row["mac"] = _b64(_mac(row, keys))
        return json.dumps(row, indent=2, ensure_ascii=True).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> VaultFile:
        """Parse, without authenticating. Raises NewerFormat or Damaged."""
        try:
            if len(data) > MAX_VAULT_FILE:
                raise ValueError("too long")
            row = json.loads(data)
            if _is_deep(row):
                raise ValueError("nested too deeply")
            if row["format"] != "rpdrive vault":
                raise ValueError("not a vault")
            version = _of(int, row["version"])
            if version > VERSION:
                raise NewerFormat(f"the vault has format version {version}; this rpdrive reads version {VERSION}")
            slots = _of(list, row["slots"])
            if version != VERSION or len(slots) > MAX_SLOTS:
                raise ValueError("version or slots")
            known = tuple(Slot.from_json(s) for s in slots if s["kdf"] == "argon2id")
            if slots and not known:
                raise NewerFormat("the vault has only key slots of kinds that this rpdrive doesn't know")
            vault_id = _of(str, row["id"])
            if not re.fullmatch("[0-9a-f]{32}", vault_id):
                raise ValueError("vault id")
            number, created, mac = _of(int, row["number"]), _of(str, row["created"]), _unb64(row["mac"])
            return cls(bytes.fromhex(vault_id), number, created, known, mac, row)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise Damaged("vault.json is malformed", "restore it from the newest vault/<n>.json next to it") from e

    def check_costs(self) -> None:
        """Raise Damaged if trying all slots would cost too much memory or time."""
        for slot in self.slots:
            slot.kdf.check()
        if sum(slot.kdf.memory_kib * slot.kdf.passes for slot in self.slots) > MAX_KDF_SUM:
            raise Damaged("the vault's key slots cost too much to try", _RESTORE)

    def unlock(self, passphrase: str) -> Keys:
        """The keys, from a passphrase. Raises WrongPassphrase, or Damaged if the file was changed."""
        self.check_costs()
        wrong: WrongPassphrase | None = None
        for slot in self.slots:
            try:
                master = open_slot(slot, self.vault_id, passphrase)
            except WrongPassphrase as e:
                wrong = e
                continue
            return self.verify(Keys(master, self.vault_id))
        raise wrong or Damaged("vault.json has no key slot", "restore it from vault/<n>.json next to it")

    def verify(self, keys: Keys) -> Keys:
        """Check the file's MAC under these keys and return them. Raises Damaged if the MAC is wrong."""
        row = self._body() if self.parsed is None else self.parsed
        if not hmac.compare_digest(_mac(row, keys), self.mac):
            raise Damaged(
                "vault.json has been changed since rpdrive wrote it, or belongs to another vault",
                "restore it from the newest vault/<n>.json next to it",
            )
        return keys


def _is_deep(value: object) -> bool:
    """Whether JSON is nested more deeply than it may be."""
    level = [value]
    for _depth in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(inner, dict | list) for inner in level)


def _mac(row: Mapping[str, Any], keys: Keys) -> bytes:
    """HMAC of the file's canonical JSON: all fields but `mac`, names sorted, no spaces, ASCII."""
    signed = {k: v for k, v in row.items() if k != "mac"}
    body = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.digest(keys.vault_file, body.encode(), hashlib.sha256)


_FIELDS = frozenset(("format", "version", "id", "number", "created", "slots", "mac"))
_SLOT_FIELDS = frozenset(("id", "kdf", "memory_kib", "passes", "lanes", "salt", "commitment", "wrapped", "created"))


def _knows(row: Mapping[str, Any]) -> bool:
    return row.keys() <= _FIELDS and all(s.keys() <= _SLOT_FIELDS for s in row["slots"])
