"""Vectors with one fault each: the fault, how to read it, the error to be raised, and the layer that raises it.

`read.how` says what is read: a `vault` is the golden one with some objects replaced (null: missing), renamed or
swapped; `pages` are pages of a tree without blocks around them; other values name the object itself.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import zstandard

from catalog.format.blocks import FRAME, OVERHEAD, PackKind, seal_block
from catalog.format.keys import Keys
from catalog.format.packs import TRAILER, PackBuilder
from catalog.format.records import encode_record
from catalog.format.sealed import Kind, seal_object
from catalog.format.slots import KdfParameters
from catalog.format.vaultfile import VaultFile, _mac
from tests.kit import golden_vault as g
from tests.kit.golden_checks import checks_faults
from tests.kit.golden_ledger import ledger_faults
from tests.kit.golden_plans import plan_faults
from tests.kit.golden_retention import retention_faults
from tests.kit.golden_seeds import seed_faults
from tests.kit.make_moved_faults import moved_faults
from tests.kit.make_page_faults import Fault, fault, page_faults
from tests.kit.make_signed_faults import signed_faults, vault_file_faults

PACK, AT = g.pack_id("pack"), 8


def flip(data: bytes, at: int, bits: int = 1) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]


def faults() -> dict[str, Fault]:
    made = g.GoldenVault()
    return {
        **_vault_files(made),
        **vault_file_faults(made),
        **signed_faults(made),
        **_frames(),
        **_packs(made),
        **_objects(made),
        **page_faults(),
        **moved_faults(),
        **retention_faults(),
        **checks_faults(),
        **seed_faults(),
        **plan_faults(),
        **ledger_faults(),
    }


# --- vault.json, slots -------------------------------------------------------------------------------------


def _vault_files(made: g.GoldenVault) -> dict[str, Fault]:
    good = json.loads(made.objects["vault.json"])

    def changed(what: str, error: str, layer: str, *, sign: bool = False, **fields: Any) -> Fault:
        row = good | fields
        if sign:
            row["mac"] = base64.b64encode(_mac(row, g.KEYS)).decode()
        return fault(what, error, layer, how="vault", replace={"vault.json": json.dumps(row).encode().hex()})

    def slot(what: str, error: str, layer: str, **fields: Any) -> Fault:
        return changed(what, error, layer, sign=True, slots=[good["slots"][0] | fields])

    wrapped, commitment, salt = (str(good["slots"][0][k]) for k in ("wrapped", "commitment", "salt"))

    def other(text: str) -> str:
        return ("B" if text[0] == "A" else "A") + text[1:]

    absurd = {
        "memory": KdfParameters((256 << 10) + 1, 1, 1),
        "passes": KdfParameters(64, 17, 1),
        "lanes": KdfParameters(256 << 10, 1, 65),
        "too-little": KdfParameters(7, 1, 1),
        "nothing": KdfParameters(0, 0, 0),
    }
    rows = {
        f"kdf-{k}": slot(
            f"Argon2id parameters out of bounds: {k}; must be refused before Argon2id is run",
            "Damaged",
            "kdf parameters",
            memory_kib=v.memory_kib,
            passes=v.passes,
            lanes=v.lanes,
        )
        for k, v in absurd.items()
    }
    usual = good["slots"][0] | {"memory_kib": 65536, "passes": 3, "lanes": 4}
    return rows | {
        "kdf-sum": changed(
            "17 slots of the usual cost: too much to try in sum; must be refused before Argon2id is run",
            "Damaged",
            "kdf sum",
            sign=True,
            slots=[usual] * 17,
        ),
        "vault-nested-deeply": fault(
            "a field of 990 nested arrays",
            "Damaged",
            "vault file",
            how="vault",
            replace={"vault.json": _with_nested(good).hex()},
        ),
        "vault-newer": changed("a vault of version 2", "NewerFormat", "vault file", version=2),
        "vault-version-0": changed("a vault of version 0", "Damaged", "vault file", version=0),
        "vault-not-json": fault(
            "vault.json is not JSON", "Damaged", "vault file", how="vault", replace={"vault.json": b"{".hex()}
        ),
        "vault-field-missing": changed("vault.json without a list of slots", "Damaged", "vault file", slots=None),
        "vault-number-is-text": changed("a number given as text", "Damaged", "vault file", number="1"),
        "vault-number-is-infinite": changed("a number given as 1e999", "Damaged", "vault file", number=1e999),
        "vault-no-slots": changed("vault.json with no slots", "Damaged", "vault slots", slots=[]),
        "vault-slots-too-many": changed(
            "vault.json with 33 slots", "Damaged", "vault file", slots=good["slots"] * 33
        ),
        "vault-slots-of-unknown-kind": changed(
            "only slots of an unknown kind", "NewerFormat", "vault file", slots=[{"kdf": "balloon"}]
        ),
        "vault-changed": changed("vault.json changed: its number", "Damaged", "vault mac", number=2),
        "vault-unknown-field-changed": changed(
            "a field added to vault.json that the MAC does not cover", "Damaged", "vault mac", extra=1
        ),
        "vault-of-another-master": fault(
            "the vault opened with another vault's master key",
            "Damaged",
            "vault mac",
            how="vault",
            replace={},
            master=bytes(32).hex(),
        ),
        "passphrase-wrong": fault(
            "a wrong passphrase",
            "WrongPassphrase",
            "slot",
            how="vault",
            replace={},
            passphrase="not the one that it was",
        ),
        "slot-wrapped-changed": slot(
            "the wrapped key changed: the passphrase is right", "Damaged", "slot", wrapped=other(wrapped)
        ),
        "slot-commitment-changed": slot(
            "the commitment changed: like a wrong passphrase",
            "WrongPassphrase",
            "slot",
            commitment=other(commitment),
        ),
        "slot-salt-changed": slot("the salt changed", "WrongPassphrase", "slot", salt=other(salt)),
        "slot-parameters-changed": slot("other, cheaper parameters", "WrongPassphrase", "slot", memory_kib=32),
        "slot-renamed": slot("the slot's id changed", "WrongPassphrase", "slot", id="0badbeef"),
        "slot-salt-short": slot("a salt of 3 bytes", "Damaged", "vault file", salt="AAAA"),
        "slot-of-another-vault": fault(
            "the slot of a vault, put into another vault's file",
            "WrongPassphrase",
            "slot",
            how="vault",
            replace={"vault.json": _under_another_id(made).hex()},
        ),
    }


def _with_nested(good: dict[str, Any]) -> bytes:
    return (json.dumps(good)[:-1] + ', "later": ' + "[" * 990 + "]" * 990 + "}").encode()


def _under_another_id(made: g.GoldenVault) -> bytes:
    keys = Keys(g.MASTER, g.fixed("another vault"))
    return VaultFile(keys.vault_id, 1, g.CREATED, (made.slot,)).encode(keys)


# --- frames, blocks ------------------------------------------------------------------------------------------


def _frames() -> dict[str, Fault]:
    hidden = zstandard.ZstdCompressor(write_content_size=False).compress(b"a" * 100)
    small, bomb = g.ZSTD_PAYLOAD, zstandard.ZstdCompressor().compress(bytes(64 << 20))
    lying = small[:5] + (100 - 256).to_bytes(2, "little", signed=True) + small[7:]

    def block(what: str, error: str, layer: str, frame: bytes, kind: PackKind = PackKind.DATA) -> Fault:
        sealed = seal_block(g.KEYS, kind, PACK, AT, frame).hex()
        return fault(what, error, layer, how="block", kind=int(kind), pack=PACK.hex(), offset=AT, sealed=sealed)

    size = len(g.ZSTD_RAW)
    return {
        "frame-empty": block("a block with nothing in it", "Damaged", "frame", b""),
        "frame-cut": block("a frame shorter than its head", "Damaged", "frame", b"\0\0\0\0"),
        "frame-codec-unknown": block("codec 2", "NewerFormat", "frame", FRAME.pack(2, 5) + b"hello"),
        "frame-raw-longer": block("raw, longer than it claims", "Damaged", "frame", FRAME.pack(0, 4) + b"hello"),
        "frame-raw-shorter": block("raw, shorter than it claims", "Damaged", "frame", FRAME.pack(0, 6) + b"hello"),
        "frame-zstd-longer": block(
            "zstd, longer than it claims", "Damaged", "frame", FRAME.pack(1, size - 1) + small
        ),
        "frame-zstd-shorter": block(
            "zstd, shorter than it claims", "Damaged", "frame", FRAME.pack(1, size + 1) + small
        ),
        "frame-zstd-bomb": block(
            "64 MiB of zeros that claim to be 100 bytes", "Damaged", "frame", FRAME.pack(1, 100) + bomb
        ),
        "frame-zstd-bomb-honest": block(
            "64 MiB of zeros that say so: more than a block may hold",
            "Damaged",
            "frame",
            FRAME.pack(1, 64 << 20) + bomb,
        ),
        "frame-tree-too-long": block(
            "a tree block of 64 MiB", "Damaged", "frame", FRAME.pack(1, 64 << 20) + bomb, PackKind.TREE
        ),
        "frame-contents-too-long": block(
            "a table of contents of 64 MiB and a byte",
            "Damaged",
            "frame",
            FRAME.pack(0, (64 << 20) + 1),
            PackKind.DATA_CONTENTS,
        ),
        "frame-zstd-size-forged": block(
            "zstd whose header and frame both claim less than comes out",
            "Damaged",
            "frame",
            FRAME.pack(1, 100) + lying,
        ),
        "frame-zstd-size-hidden": block(
            "zstd that doesn't say how long it is", "Damaged", "frame", FRAME.pack(1, 100) + hidden
        ),
        "frame-zstd-cut": block("zstd cut short", "Damaged", "frame", FRAME.pack(1, size) + small[:-1]),
        "frame-zstd-more-after": block(
            "bytes after the zstd frame", "Damaged", "frame", FRAME.pack(1, size) + small + b"x"
        ),
        "frame-zstd-garbage": block("no zstd at all", "Damaged", "frame", FRAME.pack(1, 5) + b"hello"),
    }


# --- packs ---------------------------------------------------------------------------------------------------


def _packs(made: g.GoldenVault) -> dict[str, Fault]:
    one, two = made.data
    data = made.objects[one.name]
    first, second = one.rows

    def pack(what: str, error: str, layer: str, changed: bytes) -> Fault:
        return fault(what, error, layer, how="pack", kind=1, pack=one.id.hex(), data=changed.hex())

    def vault(what: str, layer: str, error: str, replace: dict[str, bytes | None]) -> Fault:
        rows = {n: None if b is None else b.hex() for n, b in replace.items()}
        return fault(what, error, layer, how="vault", replace=rows)

    sealed = [data[r.offset : r.offset + r.stored] for r in (first, second)]
    elsewhere = (b"other bytes " * 9)[: first.stored - OVERHEAD]
    other_place = seal_block(g.KEYS, PackKind.DATA, one.id, first.offset, g.raw_frame(elsewhere))
    later = one.id[:4] + b"\1" + one.id[5:]
    return {
        "pack-of-another-key": fault(
            "a block of a pack that is sealed with a later master key",
            "NewerFormat",
            "block",
            how="block",
            kind=1,
            pack=later.hex(),
            offset=first.offset,
            sealed=seal_block(g.KEYS, PackKind.DATA, later, first.offset, g.raw_frame(b"later")).hex(),
        ),
        "pack-header-flipped": pack("a bit of the header's magic", "Damaged", "pack", flip(data, 2)),
        "pack-newer": pack("a pack of version 2", "NewerFormat", "pack", data[:7] + b"\x02" + data[8:]),
        "pack-block-flipped": pack("a bit of a block", "Damaged", "block", flip(data, first.offset + 9)),
        "pack-tag-flipped": pack(
            "a bit of a block's tag", "Damaged", "block", flip(data, first.offset + first.stored - 1)
        ),
        "pack-contents-flipped": pack("a bit of the contents", "Damaged", "block", flip(data, one.size + 7)),
        "pack-trailer-flipped": pack("a bit of the trailer's offset", "Damaged", "trailer", flip(data, -16 + 7)),
        "pack-trailer-magic-flipped": pack("a bit of the trailer's magic", "Damaged", "trailer", flip(data, -1)),
        "pack-cut-by-one": pack("the last byte missing", "Damaged", "trailer", data[:-1]),
        "pack-cut-in-a-block": pack("cut within a block", "Damaged", "trailer", data[: second.offset + 3]),
        "pack-cut-in-the-header": pack("cut within the header", "Damaged", "pack", data[:5]),
        "pack-longer": pack("a byte too many", "Damaged", "trailer", data + b"\0"),
        "pack-of-another-vault": fault(
            "a pack of another vault with the same master key",
            "Damaged",
            "block",
            how="pack",
            kind=1,
            pack=one.id.hex(),
            data=data.hex(),
            vault_id=g.fixed("another vault").hex(),
        ),
        "pack-of-another-kind": fault(
            "a data pack read as a tree pack",
            "Damaged",
            "block",
            how="pack",
            kind=2,
            pack=one.id.hex(),
            data=data.hex(),
        ),
        "block-as-contents": fault(
            "a data block read as a table of contents",
            "Damaged",
            "block",
            how="block",
            kind=3,
            pack=one.id.hex(),
            offset=first.offset,
            sealed=sealed[0].hex(),
        ),
        "block-moved-within-pack": fault(
            "a block read from another offset of its pack",
            "Damaged",
            "block",
            how="block",
            kind=1,
            pack=one.id.hex(),
            offset=second.offset,
            sealed=sealed[0].hex(),
        ),
        "block-moved-between-packs": fault(
            "a block read from another pack, at its own offset",
            "Damaged",
            "block",
            how="block",
            kind=1,
            pack=two.id.hex(),
            offset=first.offset,
            sealed=sealed[0].hex(),
        ),
        "packs-swapped": fault(
            "two data packs under each other's names",
            "Damaged",
            "block",
            how="vault",
            replace={one.name: made.objects[two.name].hex(), two.name: data.hex()},
        ),
        "pack-missing": vault("a data pack is gone", "fetch", "MissingData", {one.name: None}),
        "tree-pack-missing": vault("the tree pack is gone", "fetch", "MissingData", {made.tree.name: None}),
        "extent-at-wrong-chunk": vault(
            "the block at an extent's place holds other bytes, sealed as they should be",
            "chunk",
            "Damaged",
            {one.name: data[: first.offset] + other_place + data[first.offset + len(other_place) :]},
        ),
        "contents-with-a-gap": pack(
            "a table of contents that leaves out a block", "Damaged", "contents", _contents(one, [second])
        ),
        "contents-without-ids": pack(
            "a table of contents with an id too few",
            "Damaged",
            "contents rows",
            _contents(one, [msgspec.structs.replace(first, ids=first.ids[:16]), second]),
        ),
        "contents-negative": pack(
            "a table of contents with a negative offset",
            "Damaged",
            "message",
            _contents(one, [[-1, first.stored, first.lengths, first.ids]]),
        ),
        "contents-garbage": pack(
            "a table of contents that is no MessagePack", "Damaged", "message", _contents(one, None)
        ),
        "trailer-points-at-a-block": pack(
            "a trailer that takes the last block for the contents",
            "Damaged",
            "block",
            data[: one.size] + TRAILER.pack(second.offset, second.stored, b"RPDT"),
        ),
    }


def _contents(pack: PackBuilder, rows: Any) -> bytes:
    """The pack with another table of contents, correctly sealed."""
    raw = b"\xc1" if rows is None else msgspec.msgpack.encode(rows)
    sealed = seal_block(g.KEYS, pack.kind.contents, pack.id, pack.size, g.raw_frame(raw))
    return b"".join([*pack.parts, sealed, TRAILER.pack(pack.size, len(sealed), b"RPDT")])


# --- sealed objects --------------------------------------------------------------------------------------------


def _objects(made: g.GoldenVault) -> dict[str, Fault]:
    point, empty, index = made.point_name, made.empty_name, made.index_name
    data = made.objects[point]

    def read(
        what: str, error: str, layer: str, changed: bytes, kind: Kind = Kind.POINT, name: str = point
    ) -> Fault:
        return fault(what, error, layer, how="object", kind=int(kind), name=name, data=changed.hex())

    def sealed(content: bytes, name: str = point, kind: Kind = Kind.POINT) -> bytes:
        with g.raw_frames():
            return seal_object(g.KEYS, kind, name, content, salt=g.fixed("salt", 32))

    later = msgspec.structs.replace(made.point, sequence=9)
    return {
        "object-magic-flipped": read("a bit of the magic", "Damaged", "object", flip(data, 0)),
        "object-newer": read("an object of version 2", "NewerFormat", "object", data[:4] + b"\x02" + data[5:]),
        "object-kind-wrong": read("an item read as a point", "Damaged", "object", data[:5] + b"\x02" + data[6:]),
        "object-of-another-key": read(
            "an object sealed with a later master key", "NewerFormat", "object", data[:7] + b"\x01" + data[8:]
        ),
        "object-salt-flipped": read("a bit of the salt", "Damaged", "object", flip(data, 20)),
        "object-body-flipped": read("a bit of the content", "Damaged", "object", flip(data, 60)),
        "object-cut": read("cut by a byte", "Damaged", "object", data[:-1]),
        "object-cut-in-the-salt": read("cut within the salt", "Damaged", "object", data[:39]),
        "object-without-a-body": read("cut after the salt", "Damaged", "object", data[:40]),
        "object-longer": read("a byte too many", "Damaged", "object", data + b"\0"),
        "object-content-garbage": read("content that is no MessagePack", "Damaged", "message", sealed(b"\xc1")),
        "object-content-cut": read(
            "content cut short, then sealed", "Damaged", "message", sealed(encode_record(made.point)[:-3])
        ),
        "object-content-longer": read(
            "bytes after the content, then sealed", "Damaged", "message", sealed(encode_record(made.point) + b"\0")
        ),
        "object-field-missing": read(
            "a point without an id", "Damaged", "message", sealed(msgspec.msgpack.encode({"machine": bytes(16)}))
        ),
        "object-text-not-utf8": read(
            "a text that is not UTF-8",
            "Damaged",
            "message",
            sealed(encode_record(made.point).replace(b"laptop", b"\xff\xfeptop")),
        ),
        "point-renamed": read(
            "a point under a name of another sequence",
            "Damaged",
            "object",
            data,
            name=point.replace("-00000001-", "-00000002-"),
        ),
        "point-made-whole": read(
            "a partial point under the name of a whole one",
            "Damaged",
            "object",
            made.objects[empty],
            name=empty.removesuffix(".partial"),
        ),
        "points-swapped": fault(
            "two points under each other's names",
            "Damaged",
            "object",
            how="vault",
            replace={point: made.objects[empty].hex(), empty: data.hex()},
        ),
        "point-lies-about-its-name": read(
            "a point sealed for a name that its content contradicts",
            "Damaged",
            "record name",
            sealed(encode_record(later)),
        ),
        "index-replayed": read(
            "an index object of one name under another",
            "Damaged",
            "object",
            made.objects[index],
            Kind.INDEX,
            index[:-1] + "0",
        ),
        "index-as-point": read("an index object under a point's name", "Damaged", "object", made.objects[index]),
        "index-without-ids": read(
            "an index object with an id too few",
            "Damaged",
            "contents rows",
            sealed(
                msgspec.msgpack.encode({"packs": [[bytes(16), [[8, 50, [5, 5], bytes(16)]]]]}), index, Kind.INDEX
            ),
            Kind.INDEX,
            index,
        ),
        "object-of-another-vault": fault(
            "an object of another vault with the same master key",
            "Damaged",
            "object",
            how="object",
            kind=3,
            name=point,
            data=data.hex(),
            vault_id=g.fixed("another vault").hex(),
        ),
    }
