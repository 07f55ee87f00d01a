"""Golden vectors, both ways: old vectors are read today, and today's code writes the same bytes.

Each fault vector names the error and the layer that must raise it: our last function in the traceback.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import pytest
from cryptography.hazmat.primitives.kdf import argon2

from cache.reader import Reader
from catalog import errors
from catalog.format.admins import Admin, open_admin
from catalog.format.blocks import PackKind, decode_frame, open_block
from catalog.format.carriers import decode_carrier
from catalog.format.checks import decode_checks, encode_checks
from catalog.format.keys import FileDigest, Keys
from catalog.format.ledger import decode_ledger, encode_ledger
from catalog.format.packs import Extent, decode_pack, pack_name
from catalog.format.places import decode_places
from catalog.format.plan import decode_plan, encode_plan
from catalog.format.records import (
    IndexObject,
    Item,
    Job,
    JobName,
    Machine,
    Point,
    PointName,
    StartName,
    decode_record,
)
from catalog.format.retention import decode_retention, encode_retention
from catalog.format.sealed import Kind, open_object
from catalog.format.seeds import encode_seed
from catalog.format.signed import open_signed
from catalog.format.slots import Slot, open_slot
from catalog.format.values import NOTHING, NodeKind, Subtree
from catalog.format.vaultfile import VaultFile
from catalog.format.windows import Windows
from catalog.format.writing import begins_page
from catalog.places import Places
from catalog.store.memory import MemoryStore
from catalog.tree import ChunkSource, Pieces, walk
from catalog.vault import open_vault
from tests.kit import (
    golden_checks,
    golden_copy,
    golden_ledger,
    golden_plans,
    golden_retention,
    golden_seeds,
    golden_starts,
    golden_volumes,
    make_vectors,
)
from tests.kit.stores import MOST

FOLDER = make_vectors.FOLDER
FAULTS = sorted(p.stem for p in (FOLDER / "faults").glob("*.json"))


def vector(path: str) -> Any:
    return json.loads((FOLDER / path).read_text())


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return {path: json.loads(json.dumps(v)) for path, v in make_vectors.everything().items()}


def test_there_is_a_file_for_every_vector_and_no_other(made: dict[str, Any]) -> None:
    files = {str(p.relative_to(FOLDER)) for p in FOLDER.rglob("*.json")}
    assert files == set(made), "run `python -m tests.kit.make_vectors` and look at what it changes"


def test_todays_code_writes_the_same_vectors(made: dict[str, Any]) -> None:
    for path, new in made.items():
        assert new == vector(path), f"{path}: the format has changed"


def test_the_format_is_frozen() -> None:
    """No golden byte changes by accident: whoever changes one must also change the hash, and say why."""
    assert make_vectors.HASHES.read_text() == make_vectors.hashes(), (
        "a golden byte changed: vaults that exist would not be read, or be written differently. If that is wanted, "
        "it is a new version of the format (docs/format.md, Versions)"
    )


# --- reading -----------------------------------------------------------------------------------------------


def master_keys() -> Keys:
    row = vector("keys.json")
    return Keys(bytes.fromhex(row["master"]), bytes.fromhex(row["vault_id"]))


def test_keys() -> None:
    row, keys = vector("keys.json"), master_keys()
    assert {name: getattr(keys, name).hex() for name in row["keys"]} == row["keys"]
    assert keys.cutter_seed == row["cutter_seed"]
    assert keys.chunk_id(b"hello").hex() == row["chunk_id_of_hello"]
    digest = FileDigest()
    for length, chunk in row["file_digest"]["pieces"]:
        digest.add(length, chunk and bytes.fromhex(chunk))
    assert digest.digest().hex() == row["file_digest"]["is"]
    assert [[n, level, begins_page(n.encode(), level)] for n, level, _ in row["begins_page"]] == row["begins_page"]


def test_slots() -> None:
    keys = master_keys()
    for row in vector("slots.json"):
        assert open_slot(Slot.from_json(row["slot"]), keys.vault_id, row["passphrase"]) == keys.master


def test_admins() -> None:
    keys = master_keys()
    for row in vector("admins.json"):
        admin = Admin.from_json(row["admin"])
        assert open_admin(keys, admin, row["passphrase"]).hex() == row["private"]
        with pytest.raises(errors.Locked if row["passphrase"] else errors.Damaged):
            open_admin(keys if row["passphrase"] else Keys(bytes(32), keys.vault_id), admin)


def test_signed_records() -> None:
    for row in vector("signed.json"):
        admin, sealed = Admin.from_json(row["admin"]), bytes.fromhex(row["sealed"])
        content = open_signed(master_keys(), [admin], Kind(row["kind"]), row["name"], sealed)
        assert content.hex() == row["content"]


def test_records_of_seeds() -> None:
    for row in vector("seeds.json"):
        content = bytes(open_object(master_keys(), Kind.SEED, row["name"], bytes.fromhex(row["sealed"])))
        assert content.hex() == row["content"]
        assert golden_seeds.values(content, row["name"]) == row["record"]
        assert encode_seed(golden_seeds.decoded(content, row["name"])) == content


def test_records_of_checks() -> None:
    for row in vector("checks.json"):
        content = bytes(open_object(master_keys(), Kind.CHECKS, row["name"], bytes.fromhex(row["sealed"])))
        assert content.hex() == row["content"]
        assert golden_checks.values(content, row["name"]) == {"record": row["record"]}
        assert encode_checks(decode_checks(content, row["name"])) == content


def test_the_mark_of_a_copy() -> None:
    for row in vector("copies.json"):
        data = bytes.fromhex(row["file"])
        assert {"file": row["file"]} | golden_copy.values(data, master_keys()) == row
        again = VaultFile.decode(data)
        assert again.encode(master_keys()) == data and not again.changed(copy=None).is_following
    assert not VaultFile.decode(golden_store().get("vault.json", MOST)).is_following


def test_a_mark_of_a_copy_with_more_fields_is_read_and_not_replaced() -> None:
    (following, _promoted) = vector("copies.json")
    row = json.loads(bytes.fromhex(following["file"]))
    row["copy"]["later"] = 1
    read = VaultFile.decode(json.dumps(row).encode())
    assert read.is_following
    with pytest.raises(errors.NewerFormat):
        read.changed(number=2).encode(master_keys())
    with pytest.raises(errors.Damaged):
        read.verify(master_keys())  # the MAC covers what this version doesn't know


def test_the_record_of_a_start() -> None:
    (row,) = vector("starts.json")
    content = bytes(open_object(master_keys(), Kind.JOB, row["name"], bytes.fromhex(row["sealed"])))
    assert content.hex() == row["content"]
    assert golden_starts.values(content, row["name"]) == row["record"]
    name = StartName.parse(row["name"])
    assert name is not None and str(name) == row["name"] and JobName.parse(row["name"]) is None
    name.check(decode_record(Job, content, row["name"]))


def test_records_of_volumes() -> None:
    for row in vector("volumes.json"):
        kind = golden_volumes.kind_of(row["what"])
        content = bytes(open_object(master_keys(), kind, row["name"], bytes.fromhex(row["sealed"])))
        assert content.hex() == row["content"]
        assert golden_volumes.values(row["what"], content, row["name"]) == row["record"]
        assert golden_volumes.encoded_again(row["what"], content, row["name"]) == content


@pytest.mark.parametrize("file", ["plans.json", "plan_kinds.json"])
def test_records_of_plans(file: str) -> None:
    for row in vector(file):
        content = bytes(open_object(master_keys(), Kind.PLAN, row["name"], bytes.fromhex(row["sealed"])))
        assert content.hex() == row["content"]
        assert golden_plans.values(content, row["name"]) == {k: row[k] for k in ("record", "unknown")}
        found = decode_plan(content, row["name"])
        assert decode_plan(encode_plan(found.record, found), row["name"]) == found


def test_records_of_retention() -> None:
    for row in vector("retention.json"):
        admin, sealed = Admin.from_json(row["admin"]), bytes.fromhex(row["sealed"])
        content = open_signed(master_keys(), [admin], Kind.RETENTION, row["name"], sealed)
        assert content.hex() == row["content"]
        assert golden_retention.values(content, row["name"]) == {k: row[k] for k in ("record", "unknown")}
        assert encode_retention(*decode_retention(content, row["name"])) == content


def test_ledgers() -> None:
    for row in vector("ledger.json"):
        admin, sealed = Admin.from_json(row["admin"]), bytes.fromhex(row["sealed"])
        content = open_signed(master_keys(), [admin], Kind.LEDGER, row["name"], sealed)
        assert content.hex() == row["content"]
        assert golden_ledger.values(content, row["name"]) == {k: row[k] for k in ("record", "unknown")}
        assert encode_ledger(*decode_ledger(content, row["name"])) == content


def test_frames() -> None:
    for row in vector("frames.json"):
        raw = bytes.fromhex(row["raw"])
        assert bytes(decode_frame(bytes.fromhex(row["frame"]), len(raw), "a frame")) == raw


def test_blocks() -> None:
    for row in vector("blocks.json"):
        kind, pack = PackKind(row["kind"]), bytes.fromhex(row["pack"])
        raw = open_block(master_keys(), kind, pack, row["offset"], bytes.fromhex(row["sealed"]))
        assert bytes(raw).hex() == row["raw"]


def test_objects() -> None:
    for row in vector("objects.json"):
        content = open_object(master_keys(), Kind(row["kind"]), row["name"], bytes.fromhex(row["sealed"]))
        assert bytes(content).hex() == row["content"]


def golden_store(path: str = "vault.json") -> MemoryStore:
    store = MemoryStore()
    store.objects.update({n: bytes.fromhex(b) for n, b in vector(path)["objects"].items()})
    return store


def test_a_whole_vault() -> None:
    row, store = vector("vault.json"), golden_store()
    assert make_vectors.point_rows(store, row["point"]) == row["tree"]
    vault = open_vault(store, passphrase=row["passphrase"])
    names = vault.point_names(partial=True)
    assert [str(n) for n in names if not n.partial] == [row["point"]]
    assert [p.sequence for p in vault.points(names)] == [1, 2]
    assert [(m.name, m.forgotten) for m in vault.machines().values()] == [("old laptop", True)]
    assert [i.name for i in vault.all_items()] == ["home"]
    (job,) = map(vault.job, vault.job_names())
    assert (job.point, job.problem_count, job.stored_bytes) == (names[0].id, 1, 4321)
    for name in (n for n in store.objects if n.startswith("index/")):
        index = decode_record(IndexObject, open_object(vault.keys, Kind.INDEX, name, store.get(name, MOST)), name)
        for pack in index.packs:
            data = store.get(pack_name(PackKind.DATA, pack.pack), MOST)
            assert decode_pack(vault.keys, PackKind.DATA, pack.pack, data) == pack.blocks


def test_a_vault_of_a_windows_machine() -> None:
    row, store = vector("windows.json"), golden_store("windows.json")
    assert make_vectors.point_rows(store, row["point"]) == row["tree"]
    known = [entry["windows"] for entry in row["tree"] if "windows" in entry]
    assert len(known) == len(row["tree"]) - 1
    said = {key for w in known for key, v in w.items() if v not in (None, [], "", 0)}
    assert said == {*Windows.__struct_fields__}, "a field that no entry has"
    assert max(len(s["content"]) for w in known for s in w["streams"]) > 32, "a stream whose pieces are in pages"
    assert max(len(w["security"] or "") for w in known) > 2 * 4096, "a value out of line"


def test_values_that_windows_entries_share_are_stored_once_in_a_page() -> None:
    vault = open_vault(golden_store("windows.json"), passphrase=vector("windows.json")["passphrase"])
    reader = Reader(vault)
    root = vault.point(vault.point_names()[0]).root
    assert root is not None
    found = [f for path, f in walk(reader, root.subtree()) if b"/" in path]
    same = {f.entry.more["security"] for f in found if f.entry.more and "security" in f.entry.more}
    assert len(found) == 10 and len(same) == 2
    assert [f.entry.name for f in found if f.entry.xattrs >= 0] == [b"paged"]
    assert root.totals[3] == 1, "only an entry's own xattrs count"


def test_a_vault_after_upkeep_has_the_same_tree() -> None:
    row, store = vector("moved.json"), golden_store("moved.json")
    assert make_vectors.point_rows(store, row["point"]) == row["tree"] == vector("vault.json")["tree"]
    packs = {name for name in vector("vault.json")["objects"] if name.startswith(("packs/", "meta/"))}
    assert len(packs) == 3 and not packs & store.objects.keys()
    places = [name for name in store.objects if name.startswith("places/")]
    assert len(places) == 4 and len({name.split("/")[1] for name in places}) == 2, "a series and a shard"


def test_objects_of_unknown_names_are_ignored() -> None:
    row, store = vector("vault.json"), golden_store()
    machine = next(n for n in store.objects if n.startswith("machines/"))
    job = next(n for n in store.objects if n.startswith("jobs/"))
    point = row["point"]
    strange = [
        "machines/readme",
        machine + "0",
        machine[:-1] + "x",
        machine.upper().replace("MACHINES", "machines"),
    ]
    strange += [
        "points/readme",
        point + ".tmp",
        point.replace("-00000001-", "-000000001-"),
        "later/thing",
        "jobs/readme",
        job + ".tmp",
        "items/x/1",
    ]
    assert not store.objects.keys() & set(strange)
    store.objects |= dict.fromkeys(strange, b"?")
    vault = open_vault(store, passphrase=row["passphrase"])
    assert [str(n) for n in vault.point_names()] == [point]
    assert [str(n) for n in vault.job_names()] == [job]
    assert [m.name for m in vault.machines().values()] == ["old laptop"]
    assert [i.name for i in vault.all_items()] == ["home"]


def test_the_whole_vault_has_every_kind_of_entry_and_page() -> None:
    tree = vector("vault.json")["tree"]
    assert {row["kind"] for row in tree} == {int(k) for k in NodeKind}
    assert [row["number"] for row in tree] == list(range(2, len(tree) + 2))
    assert max(len(row["content"]) for row in tree if isinstance(row["content"], list)) > 32
    assert any(len(value) > 2 * 4096 for row in tree for value in row["xattrs"].values())


# --- faults --------------------------------------------------------------------------------------------------

LAYERS = {
    "kdf parameters": "slots.check",
    "kdf sum": "slots.check_costs",
    "slot": "slots.open_slot",
    "vault file": "vaultfile.decode",
    "vault slots": "vaultfile.unlock",
    "vault mac": "vaultfile.verify",
    "admin": "admins.open_admin",
    "signature": "signed.open_signed",
    "places": "places.decode_places",
    "retention": "retention.decode_retention",
    "checks": "checks.decode_checks",
    "seed": "seeds.decode_seed",
    "seed end": "seeds.decode_ended",
    "plan": "plan.decode_plan",
    "ledger": "ledger.decode_ledger",
    "runs": "places._check_runs",
    "carrier": "carriers.decode_carrier carriers.decode_carried",
    "frame": "blocks.decode_frame",
    "block": "blocks.open_block",
    "pack": "packs.decode_pack packs.check_header",
    "trailer": "packs.decode_trailer",
    "contents": "packs.decode_contents",
    "contents rows": "packs.check_rows",
    "object": "sealed.open_object",
    "message": "message.decode",
    "record name": "records.check",
    "entry": "pages._convert",
    "malformed": "pages.check",
    "nameless": "pages._salvaged",
    "numbers": "tree.check_number",
    "xattrs": "pages.xattr_set",
    "piece": "pages._piece",
    "table": "pages._extent",
    "table row": "pages._at",
    "names": "pages._check_names",
    "levels": "tree.check_level",
    "cover": "tree.run",
    "windows": "windows._row",
    "windows value": "windows._value",
    "windows names": "windows._check_streams",
    "windows text": "windows._text",
    "chunk": "cache",
    "fetch": "vault._found",
}


class LoosePages(ChunkSource):
    """Pages without blocks and ids around them: nothing is verified before it is decoded."""

    def __init__(self, pages: list[bytes]) -> None:
        self.pages = pages

    def chunk(self, at: Extent) -> bytes:
        return self.pages[at.inner]


def read_everything(source: Any, root: Subtree | None) -> None:
    for _path, found in walk(source, root):
        found.leaf.node(found.entry)
        for content in found.leaf.contents(found.entry):
            for piece in Pieces(source, content).all():
                if isinstance(source, Reader) and isinstance(piece, Extent):
                    source.chunk(PackKind.DATA, piece)


def read(how: str, row: dict[str, Any]) -> None:
    keys = master_keys()
    if "vault_id" in row:
        keys = Keys(keys.master, bytes.fromhex(row["vault_id"]))
    if how == "block":
        open_block(
            keys, PackKind(row["kind"]), bytes.fromhex(row["pack"]), row["offset"], bytes.fromhex(row["sealed"])
        )
    elif how == "pack":
        kind, pack, data = PackKind(row["kind"]), bytes.fromhex(row["pack"]), bytes.fromhex(row["data"])
        for block in decode_pack(keys, kind, pack, data):
            open_block(keys, kind, pack, block.offset, data[block.offset : block.offset + block.stored])
    elif how == "object":
        sealed = Kind(row["kind"])
        cls: Any = {Kind.MACHINE: Machine, Kind.ITEM: Item, Kind.POINT: Point, Kind.INDEX: IndexObject}[sealed]
        record = decode_record(cls, open_object(keys, sealed, row["name"], bytes.fromhex(row["data"])), row["name"])
        name = PointName.parse(row["name"])
        if isinstance(record, Point):
            assert name is not None
            name.check(record)
    elif how == "signed":
        admins = [Admin.from_json(a) for a in row["admins"]]
        open_signed(keys, admins, Kind(row["kind"]), row["name"], bytes.fromhex(row["data"]))
    elif how == "admin":
        open_admin(keys, Admin.from_json(row["admin"]), row["passphrase"])
    elif how == "pages":
        pages = [bytes.fromhex(p) for p in row["pages"]]
        at = Extent(bytes(16), 8, 99, 0, 1, bytes(16))
        read_everything(LoosePages(pages), Subtree(row["level"], at, NOTHING))
    elif how == "places":
        decode_places(bytes.fromhex(row["content"]), row["name"])
    elif how == "seed":
        golden_seeds.decoded(bytes.fromhex(row["content"]), row["name"])
    elif how == "checks":
        decode_checks(bytes.fromhex(row["content"]), row["name"])
    elif how == "plan":
        decode_plan(bytes.fromhex(row["content"]) + bytes(row.get("zeros", 0)), row["name"])
    elif how == "retention":
        decode_retention(bytes.fromhex(row["content"]), row["name"])
    elif how == "ledger":
        decode_ledger(bytes.fromhex(row["content"]), row["name"])
    elif how == "carrier":
        decode_carrier(keys, PackKind(row["kind"]), bytes.fromhex(row["id"]), bytes.fromhex(row["data"]))
    elif how == "vault":
        store = golden_store(row.get("base", "vault.json"))
        for name, data in row["replace"].items():
            if data is None:
                del store.objects[name]
            else:
                store.objects[name] = bytes.fromhex(data)
        if "master" in row:
            vault = open_vault(store, master=bytes.fromhex(row["master"]))
        else:
            vault = open_vault(store, passphrase=row.get("passphrase", vector("vault.json")["passphrase"]))
        vault.places = Places(store, vault.signed, sleep=lambda seconds: None)
        reader = Reader(vault)
        for point in vault.points(vault.point_names(partial=True)):
            read_everything(reader, point.root.subtree() if point.root else None)
    else:
        raise AssertionError(f"no such way to read: {how}")


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name: str) -> None:
    row = vector(f"faults/{name}.json")
    with pytest.raises(errors.RpdriveError) as raised:
        read(row["read"].pop("how"), row["read"])
    assert type(raised.value) is getattr(errors, row["error"]), repr(raised.value)
    last = raised.traceback[-1]
    path = Path(str(last.path))
    assert {f"{path.stem}.{last.name}", path.parent.name} & set(LAYERS[row["layer"]].split())
    assert str(raised.value)


def test_every_layer_has_a_fault() -> None:
    assert {vector(f"faults/{name}.json")["layer"] for name in FAULTS} == set(LAYERS)


class KdfRan(AssertionError):
    pass


def test_absurd_parameters_are_refused_before_the_kdf_is_run() -> None:
    def refuse(**_parameters: Any) -> NoReturn:
        raise KdfRan

    absurd = [name for name in FAULTS if name.startswith("kdf-")]
    assert len(absurd) >= 4
    with mock.patch.object(argon2, "Argon2id", refuse):
        for name in absurd:
            row = vector(f"faults/{name}.json")
            with pytest.raises(errors.Damaged):
                read("vault", row["read"])
        with pytest.raises(KdfRan):  # the patch is where the KDF is called
            read("vault", {"replace": {}})
