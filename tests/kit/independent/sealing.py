"""Keys, vault.json, frames, packs, carriers and sealed objects, as docs/format.md defines them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

import blake3
import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from tests.kit.independent import shapes
from tests.kit.independent.shapes import Damaged, Locked, Newer, WrongPassphrase

MIB = 1 << 20
BLOCK_LIMITS = {1: 8 * MIB, 2: MIB, 3: 64 * MIB, 4: 64 * MIB, 5: 64 * MIB, 6: 64 * MIB}
SIGNED = {5, 7, 9, 11}


def hkdf(ikm: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(ikm)


def expand(prk: bytes, info: bytes) -> bytes:
    return HKDFExpand(SHA256(), 32, info).derive(prk)


def unseal(key: bytes, nonce: int, sealed: bytes, ad: bytes, what: str) -> bytes:
    if len(sealed) < 16:
        raise Damaged(f"{what} is too short")
    try:
        return AESGCM(key).decrypt(nonce.to_bytes(12, "big"), sealed, ad)
    except InvalidTag as error:
        raise Damaged(f"{what} does not open") from error


def chunk_id(key: bytes, data: bytes) -> bytes:
    return bytes(blake3.blake3(data, key=key).digest(length=16))


def open_frame(frame: bytes, limit: int) -> bytes:
    if len(frame) < 5:
        raise Damaged("a frame shorter than its head")
    codec, raw, payload = frame[0], int.from_bytes(frame[1:5], "big"), frame[5:]
    if codec > 1:
        raise Newer(f"codec {codec}")
    if raw > limit:
        raise Damaged(f"a frame of {raw} bytes, where {limit} are allowed")
    if codec == 0:
        if len(payload) != raw:
            raise Damaged("a raw frame of another length than it says")
        return payload
    try:
        if payload[:4] != b"\x28\xb5\x2f\xfd" or zstandard.get_frame_parameters(payload).content_size != raw:
            raise Damaged("a zstd frame of another length than it says")
        if raw:
            out = zstandard.ZstdDecompressor().decompress(payload, max_output_size=raw, allow_extra_data=False)
        else:
            stream = zstandard.ZstdDecompressor().decompressobj()
            out = stream.decompress(payload)
            if not stream.eof or stream.unused_data:
                raise Damaged("a zstd frame that is cut, or followed by something")
    except zstandard.ZstdError as error:
        raise Damaged(f"zstd: {error}") from error
    if len(out) != raw:
        raise Damaged("a zstd frame of another length than it says")
    return out


# vault.json


def strictly(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise Damaged("a field twice in vault.json")
    return dict(pairs)


def no_number(value: str) -> Any:
    raise Damaged(f"a number that is no integer in vault.json: {value}")


def depth(data: bytes) -> int:
    deepest = level = 0
    quoted = re.compile(rb'"(?:[^"\\]|\\.)*"')
    for byte in quoted.sub(b"", data):
        level += (byte in b"[{") - (byte in b"]}")
        deepest = max(deepest, level)
    return deepest


def base64_of(size: int) -> shapes.Shape:
    def check(value: Any) -> bytes:
        try:
            data = base64.b64decode(shapes.text(value), validate=True)
        except ValueError as error:
            raise Damaged("not base64") from error
        return bytes(shapes.binary(size)(data))

    return check


def canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def ascii_text(value: Any) -> str:
    if not shapes.text(value).isascii():
        raise Damaged("an id that is not ASCII")
    return str(value)


def hex_id(value: Any) -> bytes:
    if not re.fullmatch("[0-9a-f]{32}", shapes.text(value)):
        raise Damaged("not 32 hex digits")
    return bytes.fromhex(value)


PARAMETERS: dict[str, Any] = {
    "memory_kib": shapes.integer, "passes": shapes.integer, "lanes": shapes.integer, "salt": base64_of(16),
    "commitment": base64_of(32), "wrapped": base64_of(48),
}  # fmt: skip
SLOT = shapes.record(id=ascii_text, kdf=shapes.text, created=shapes.text, **PARAMETERS)
ADMIN = shapes.record(
    id=shapes.text, algorithm=shapes.text, public=base64_of(32), kdf=shapes.text, created=shapes.text
)
IMMUTABLE = shapes.record(days=shapes.number(1, 36_500), locked=shapes.boolean)
COPY = shapes.record(of=shapes.text, since=shapes.text, promoted=shapes.or_nil(shapes.number(0, 2**63 - 1)))
VAULT = shapes.record(
    format=shapes.text, version=shapes.number(1, 1), id=hex_id, number=shapes.number(1, 2**63 - 1),
    mac=base64_of(32), created=shapes.text, slots=shapes.sequence, admins=shapes.sequence,
    soft_delete_days=shapes.number(14, 180), immutable=shapes.or_nil(IMMUTABLE),
)  # fmt: skip


def read_slots(slots: list[Any]) -> list[dict[str, Any]]:
    if not slots or len(slots) > 32:
        raise Damaged("no slots, or more than 32")
    for slot in slots:
        shapes.record(kdf=shapes.text)(slot)
    known = [SLOT(slot) for slot in slots if slot["kdf"] == "argon2id"]
    if not known:
        raise Newer("only slots of an unknown kind")
    check_costs(known)
    return known


def read_admins(admins: list[Any]) -> list[dict[str, Any]]:
    if len(admins) > 32:
        raise Damaged("more than 32 admins")
    known = []
    for admin in admins:
        if shapes.record(algorithm=shapes.text)(admin)["algorithm"] != "ed25519":
            continue
        read = ADMIN(admin)
        if read["id"] != hashlib.sha256(read["public"]).hexdigest()[:16]:
            raise Damaged("an admin with another id than that of its key")
        if read["kdf"] == "master":
            read |= shapes.record(wrapped=base64_of(48))(admin)
        elif read["kdf"] == "argon2id":
            read |= shapes.record(**PARAMETERS)(admin)
        known.append(read)
    if len({admin["id"] for admin in known}) != len(known):
        raise Damaged("an admin twice")
    return known


def check_costs(slots: list[dict[str, Any]]) -> None:
    for slot in slots:
        fits = 8 * slot["lanes"] <= slot["memory_kib"] <= 262_144
        if not (fits and 1 <= slot["passes"] <= 16 and 1 <= slot["lanes"] <= 64):
            raise Damaged("Argon2id parameters out of bounds")
    if sum(slot["memory_kib"] * slot["passes"] for slot in slots) > 3_145_728:
        raise Damaged("Argon2id parameters that cost too much together")


def open_slot(slot: dict[str, Any], passphrase: str, vault_id: bytes, what: bytes) -> bytes | None:
    """The key in a slot; None if its passphrase is another."""
    passes, lanes, memory = slot["passes"], slot["lanes"], slot["memory_kib"]
    ad = what + vault_id + f"|{memory}|{passes}|{lanes}|{slot['id']}".encode("ascii")
    password = unicodedata.normalize("NFC", passphrase).encode()
    derive = Argon2id(salt=slot["salt"], length=64, iterations=passes, lanes=lanes, memory_cost=memory)
    both = derive.derive(password)
    if not hmac.compare_digest(hmac.digest(both[32:], ad, "sha256"), slot["commitment"]):
        return None
    return unseal(both[:32], 0, slot["wrapped"], ad, "a slot whose passphrase is right")


class Keys:
    def __init__(self, master: bytes, vault_id: bytes) -> None:
        def derive(name: str) -> bytes:
            return hkdf(master, vault_id, b"rpdrive/1 " + name.encode("ascii"))

        self.vault_id = vault_id
        self.chunk_ids, self.records, self.index = derive("chunk ids"), derive("records"), derive("index")
        self.packs = {1: derive("data packs"), 2: derive("tree packs")}
        self.vault_file, self.admin_keys = derive("vault file"), derive("admin keys")
        self.cutter_seed = int.from_bytes(derive("cutter seed")[:8], "big") >> 1


@dataclass(frozen=True)
class VaultFile:
    """vault.json, its form checked, but not its MAC."""

    fields: dict[str, Any]
    slots: list[dict[str, Any]]
    admins: list[dict[str, Any]]
    without_mac: bytes
    copy: dict[str, Any] | None

    @classmethod
    def parse(cls, data: bytes) -> VaultFile:
        if len(data) > MIB or depth(data) > 32:
            raise Damaged("vault.json is too large, or nested too deeply")
        try:
            value = json.loads(
                data.decode(), object_pairs_hook=strictly, parse_float=no_number, parse_constant=no_number
            )
        except (ValueError, RecursionError) as error:
            raise Damaged("vault.json is not JSON") from error
        if shapes.record(version=shapes.integer)(value)["version"] > 1:
            raise Newer(f"a vault of version {value['version']}")
        fields = VAULT(value)
        if fields["format"] != "rpdrive vault":
            raise Damaged("vault.json of another format")
        copy = COPY(value["copy"]) if "copy" in value else None
        if copy is not None and len(copy["of"]) > 1000:
            raise Damaged("the address of what was copied is too long")
        signed = canonical({name: field for name, field in value.items() if name != "mac"})
        return cls(fields, read_slots(fields["slots"]), read_admins(fields["admins"]), signed, copy)

    def open(self, passphrase: str) -> Keys:
        for slot in self.slots:
            master = open_slot(slot, passphrase, self.fields["id"], b"rpdrive/1 slot")
            if master is not None:
                return self.with_master(master)
        raise WrongPassphrase("no slot has this passphrase")

    def with_master(self, master: bytes) -> Keys:
        keys = Keys(master, self.fields["id"])
        if not hmac.compare_digest(hmac.digest(keys.vault_file, self.without_mac, "sha256"), self.fields["mac"]):
            raise Damaged("the MAC of vault.json")
        return keys


def open_admin(keys: Keys, admin: dict[str, Any], passphrase: str | None = None) -> Ed25519PrivateKey:
    """The private key of an admin, whose fields are those of vault.json."""
    [read] = read_admins([admin])
    if read["kdf"] == "master":
        key = expand(keys.admin_keys, b"rpdrive/1 admin" + read["public"])
        ad = b"rpdrive/1 admin" + keys.vault_id + b"|master|" + read["id"].encode("ascii")
        private = unseal(key, 0, read["wrapped"], ad, "an admin's key")
    elif read["kdf"] == "argon2id":
        check_costs([read])
        if passphrase is None:
            raise Locked("an admin's key needs a passphrase")
        unlocked = open_slot(read, passphrase, keys.vault_id, b"rpdrive/1 admin")
        if unlocked is None:
            raise WrongPassphrase("not the passphrase of this admin")
        private = unlocked
    else:
        raise Newer(f"a private key that is wrapped by {read['kdf']}")
    opened = Ed25519PrivateKey.from_private_bytes(private)
    if opened.public_key().public_bytes_raw() != read["public"]:
        raise Damaged("an admin with the private key of another")
    return opened


# Packs


def open_block(keys: Keys, kind: int, pack: bytes, offset: int, sealed: bytes) -> bytes:
    if pack[4] != 0:
        raise Newer(f"a pack of generation {pack[4]}")
    ad = b"RPDB" + bytes([1, kind]) + keys.vault_id + pack + offset.to_bytes(8, "big")
    key = expand(keys.packs[1 if kind % 2 else 2], b"rpdrive/1 pack" + pack)
    return open_frame(unseal(key, offset, sealed, ad, "a block"), BLOCK_LIMITS[kind])


def contents_of(keys: Keys, kind: int, pack: bytes, data: bytes, magic: bytes) -> tuple[Any, int]:
    """The value in a table of contents, and where it begins."""
    if len(data) < 24 or data[:7] != magic:
        raise Damaged("another header than that of a pack or carrier")
    if data[7] > 1:
        raise Newer(f"a pack or carrier of version {data[7]}")
    at, size = int.from_bytes(data[-16:-8], "big"), int.from_bytes(data[-8:-4], "big")
    if data[7] != 1 or data[-4:] != b"RPDT" or at + size + 16 != len(data):
        raise Damaged("a pack without its trailer")
    return shapes.unpack(open_block(keys, kind, pack, at, data[at : at + size])), at


def check_row(row: tuple[Any, ...]) -> None:
    if len(row[3]) != 16 * len(row[2]):
        raise Damaged("a row of contents with another number of ids than of lengths")


def check_block(keys: Keys, kind: int, pack: bytes, row: tuple[Any, ...], sealed: bytes) -> None:
    raw = open_block(keys, kind, pack, row[0], sealed)
    if sum(row[2]) != len(raw):
        raise Damaged("chunks that do not fill their block")
    at = 0
    for i, length in enumerate(row[2]):
        if chunk_id(keys.chunk_ids, raw[at : at + length]) != row[3][16 * i : 16 * i + 16]:
            raise Damaged("a chunk of another id")
        at += length


def open_pack(keys: Keys, kind: int, pack: bytes, data: bytes, *, blocks: bool = False) -> list[tuple[Any, ...]]:
    """The rows of a pack's table of contents."""
    value, end = contents_of(keys, kind + 2, pack, data, b"RPDPACK")
    rows = shapes.array(shapes.block_row)(value)
    at = 8
    for row in rows:
        check_row(row)
        if row[0] != at:
            raise Damaged("contents that leave out a block")
        at += row[1]
    if at != end:
        raise Damaged("contents that leave out a block")
    for row in rows if blocks else []:
        check_block(keys, kind, pack, row, data[row[0] : row[0] + row[1]])
    return list(rows)


def open_carrier(keys: Keys, kind: int, carrier: bytes, data: bytes, *, blocks: bool = False) -> list[Any]:
    """The rows of a carrier's table of contents: (pack id, rows)."""
    value, end = contents_of(keys, kind + 4, carrier, data, b"RPDCARR")
    carried = shapes.carried(value)
    at = 8
    for pack, rows in carried:
        for row in rows:
            check_row(row)
            if blocks:
                check_block(keys, kind, pack, row, data[at : at + row[1]])
            at += row[1]
    if at != end:
        raise Damaged("a carrier with blocks that are not listed")
    return list(carried)


# Sealed objects


def open_object(keys: Keys, kind: int, name: str, data: bytes) -> bytes:
    if len(data) > (64 if kind == 4 else 32) * MIB:
        raise Damaged("an object that is too large")
    if len(data) < 40 or data[:4] != b"RPDS":
        raise Damaged("not a sealed object")
    if data[4] > 1:
        raise Newer(f"an object of version {data[4]}")
    if data[5] != kind:
        raise Damaged("an object of another kind")
    if data[6:8] != b"\0\0":
        raise Newer("an object of another generation")
    key = hkdf(keys.index if kind == 4 else keys.records, data[8:40], b"rpdrive/1 object")
    ad = data[:8] + keys.vault_id + name.encode("ascii")
    return open_frame(unseal(key, 0, data[40:], ad, name), 256 * MIB)


def open_signed(keys: Keys, admins: list[dict[str, Any]], kind: int, name: str, data: bytes) -> bytes:
    """The content of a signed record; `admins` as read from vault.json."""
    content, signer, signature = shapes.signed(shapes.unpack(open_object(keys, kind, name, data)))
    for admin in admins:
        if admin["id"] == signer.hex():
            message = b"rpdrive/1 signed" + keys.vault_id + name.encode("ascii") + hashlib.sha256(content).digest()
            try:
                Ed25519PublicKey.from_public_bytes(admin["public"]).verify(signature, message)
            except InvalidSignature as error:
                raise Damaged("a record that is not signed under its name") from error
            return bytes(content)
    raise Damaged("a record that no admin of this vault signed")
