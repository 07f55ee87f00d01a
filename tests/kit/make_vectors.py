"""Makes tests/vectors, the same bytes each time: `python -m tests.kit.make_vectors`.

tests/catalog/test_golden.py reads them with today's code. It also makes them again and compares: today's code must
write the same bytes. They change only with the format, and the
format is frozen: `HASHES` has the SHA-256 of every file. `python -m tests.kit.make_vectors freeze` writes it anew.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from catalog.format.admins import make_admin
from catalog.format.blocks import PackKind, seal_block
from catalog.format.keys import FileDigest
from catalog.format.nodes import Node
from catalog.format.pages import Leaf
from catalog.format.sealed import Kind, seal_object
from catalog.format.signed import SIGNED, seal_signed
from catalog.format.slots import KdfParameters, make_slot
from catalog.format.values import Hole, OutOfLine, Paged, Piece, Subtree
from catalog.format.windows import Windows, name_bytes
from catalog.format.writing import begins_page
from catalog.store.memory import MemoryStore
from catalog.tree import Pieces, walk
from catalog.vault import open_vault
from tests.kit import (
    golden_checks,
    golden_copy,
    golden_ledger,
    golden_moved,
    golden_plans,
    golden_retention,
    golden_seeds,
    golden_starts,
    golden_volumes,
    golden_windows,
)
from tests.kit import golden_vault as g
from tests.kit.make_faults import faults
from tests.kit.vaults import CHEAP

FOLDER = Path(__file__).parents[1] / "vectors"
HASHES = FOLDER / "SHA256SUMS"


def keys() -> dict[str, Any]:
    names = ("chunk_ids", "data_packs", "tree_packs", "records", "index", "vault_file", "admin_keys")
    digest = FileDigest()
    digest.add(5, g.fixed("chunk"))
    digest.add(3, None)
    digest.add(4, None)
    return {
        "master": g.MASTER.hex(),
        "vault_id": g.VAULT_ID.hex(),
        "keys": {n: getattr(g.KEYS, n).hex() for n in names},
        "cutter_seed": g.KEYS.cutter_seed,
        "chunk_id_of_hello": g.KEYS.chunk_id(b"hello").hex(),
        "file_digest": {"pieces": [[5, g.fixed("chunk").hex()], [3, None], [4, None]], "is": digest.digest().hex()},
        "begins_page": [
            [n.decode(), level, begins_page(n, level)] for n in g.names_that_begin_pages(2) for level in (0, 1, 5)
        ],
    }


def slots() -> list[dict[str, Any]]:
    rows = []
    for label, kdf in (("cheap", CHEAP), ("as written by default", KdfParameters())):
        # An A with a ring, as two code points. Normalisation form C, which the KDF gets, has one.
        passphrase = "A\u030angstr\u00f6m, a long one"
        slot = make_slot(
            g.MASTER, g.VAULT_ID, passphrase, g.CREATED, kdf=kdf, salt=g.fixed(label), slot_id="0badcafe"
        )
        rows.append({"passphrase": passphrase, "slot": slot.to_json()})
    return rows


def frames() -> list[dict[str, Any]]:
    return [
        {"frame": g.raw_frame(b"").hex(), "raw": ""},
        {"frame": g.raw_frame(b"hello").hex(), "raw": b"hello".hex()},
        {"frame": g.zstd_frame().hex(), "raw": g.ZSTD_RAW.hex()},
    ]


def blocks() -> list[dict[str, Any]]:
    rows = []
    for kind in PackKind:
        for offset in (8, 0x0102030405):
            sealed = seal_block(g.KEYS, kind, g.pack_id("pack"), offset, g.raw_frame(b"hello"))
            row = {"kind": int(kind), "pack": g.pack_id("pack").hex(), "offset": offset}
            rows.append(row | {"raw": b"hello".hex(), "sealed": sealed.hex()})
    return rows


def objects() -> list[dict[str, Any]]:
    rows = []
    for kind in Kind:
        name = f"folder/{kind.name.lower()}"
        with g.raw_frames():
            sealed = seal_object(g.KEYS, kind, name, b"content", salt=g.fixed("salt", 32))
        rows.append({"kind": int(kind), "name": name, "content": b"content".hex(), "sealed": sealed.hex()})
    return rows


def admins() -> list[dict[str, Any]]:
    rows = []
    for passphrase in (None, "A\u030angstr\u00f6m, a long one"):
        admin = make_admin(g.KEYS, g.PRIVATE, g.CREATED, passphrase, kdf=CHEAP, salt=g.fixed("salt"))
        rows.append({"private": g.PRIVATE.hex(), "passphrase": passphrase, "admin": admin.to_json()})
    return rows


def signed() -> list[dict[str, Any]]:
    rows = []
    admin = make_admin(g.KEYS, g.PRIVATE, g.CREATED)
    for kind in sorted(SIGNED):
        name = f"folder/{kind.name.lower()}/00000001"
        with g.raw_frames():
            sealed = seal_signed(g.KEYS, admin, g.PRIVATE, kind, name, b"content", salt=g.fixed("salt", 32))
        row = {"kind": int(kind), "name": name, "content": b"content".hex(), "sealed": sealed.hex()}
        rows.append({"admin": admin.to_json()} | row)
    return rows


def vault(made: g.GoldenVault) -> dict[str, Any]:
    store = MemoryStore()
    store.objects.update(made.objects)
    return {
        "passphrase": g.PASSPHRASE,
        "point": made.point_name,
        "objects": {name: data.hex() for name, data in sorted(made.objects.items())},
        "tree": point_rows(store, made.point_name),
    }


def point_rows(store: MemoryStore, name: str) -> list[dict[str, Any]]:
    """All contents of a point, read with today's code."""
    from cache.reader import Reader
    from catalog.format.records import PointName

    vault = open_vault(store, passphrase=g.PASSPHRASE)
    reader = Reader(vault)
    point_name = PointName.parse(name)
    assert point_name is not None
    root = vault.point(point_name).root
    rows = []
    for path, found in walk(reader, root.subtree() if root else None):
        node = found.leaf.node(found.entry)
        own = ("content", "xattrs", "windows")
        row = {f: value(getattr(node, f)) for f in Node.__struct_fields__ if f not in own}
        row |= {"path": path.hex(), "number": found.number, "content": content(reader, node)}
        row["xattrs"] = {
            k.hex(): value(v if isinstance(v, bytes) else bytes(reader.chunk(PackKind.TREE, v.at)))
            for k, v in (node.xattrs or {}).items()
        }
        if node.windows is not None:
            row["windows"] = windows(reader, node.windows)
        rows.append(row)
    reader.close()
    return json.loads(json.dumps(rows))  # type: ignore[no-any-return]


def windows(reader: Any, w: Windows) -> dict[str, Any]:
    """An entry's Windows metadata. Names are bytes, since JSON can't hold those that are not Unicode."""
    row: dict[str, Any] = {}
    for field in Windows.__struct_fields__:
        v = getattr(w, field)
        if isinstance(v, OutOfLine):
            v = bytes(reader.chunk(PackKind.TREE, v.at))
        row[field] = (
            value(v)
            if field != "streams"
            else [
                {"name": name_bytes(s.name).hex(), "size": s.size, "content": pieces(reader, s.content)} for s in v
            ]
        )
    return row


def content(reader: Any, node: Node) -> Any:
    """The pieces of a file; for other entries the content as it is."""
    if isinstance(node.content, list | Paged):
        return pieces(reader, node.content)
    return list(node.content.totals) if isinstance(node.content, Subtree) else value(node.content)


def pieces(reader: Any, content: list[Piece] | Paged) -> list[Any]:
    """Bytes, or the length of a hole."""
    return [
        p.length if isinstance(p, Hole) else bytes(reader.chunk(PackKind.DATA, p)).hex()
        for p in Pieces(reader, content).all()
    ]


def value(v: Any) -> Any:
    assert not isinstance(v, OutOfLine | Leaf)
    return msgspec.to_builtins(v, builtin_types=()) if not isinstance(v, bytes) else v.hex()


def everything() -> dict[str, Any]:
    """Every vector, by its file's path below tests/vectors."""
    files: dict[str, Any] = {
        "keys.json": keys(),
        "slots.json": slots(),
        "frames.json": frames(),
        "blocks.json": blocks(),
        "objects.json": objects(),
        "admins.json": admins(),
        "signed.json": signed(),
        "retention.json": golden_retention.retention(),
        "checks.json": golden_checks.checks(),
        "seeds.json": golden_seeds.seeds(),
        "plans.json": golden_plans.plans(),
        "plan_kinds.json": golden_plans.plan_kinds(),
        "starts.json": golden_starts.starts(),
        "volumes.json": golden_volumes.volumes(),
        "ledger.json": golden_ledger.ledgers(),
        "copies.json": golden_copy.copies(g.GoldenVault()),
        "vault.json": vault(g.GoldenVault()),
        "windows.json": vault(golden_windows.GoldenWindowsVault()),
        "moved.json": vault(golden_moved.GoldenMovedVault()),
    }
    return files | {f"faults/{name}.json": fault for name, fault in faults().items()}


def hashes() -> str:
    """The SHA-256 of every vector, as `sha256sum` prints them."""
    files = {path.relative_to(FOLDER).as_posix(): path.read_bytes() for path in FOLDER.rglob("*.json")}
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))


def main() -> None:
    for path, vector in everything().items():
        (FOLDER / path).write_text(json.dumps(vector, indent=1) + "\n", newline="\n")
    if sys.argv[1:] == ["freeze"]:
        HASHES.write_text(hashes(), newline="\n")


if __name__ == "__main__":
    main()
