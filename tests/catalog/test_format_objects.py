"""Records, frames, blocks, packs: written values are read back, and garbage raises only our own errors."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from catalog.errors import Damaged, RpdriveError, Unwritable, UsageError
from catalog.format import sealed
from catalog.format.blocks import FRAME, MAX_RAW, PackKind, decode_frame, encode_frame, open_block, seal_block
from catalog.format.keys import Keys
from catalog.format.nodes import totals as totals_of
from catalog.format.packs import Extent, PackBuilder, decode_contents, decode_pack, decode_trailer
from catalog.format.pages import Leaf, decode_folder_index, decode_leaf, decode_piece_index, decode_piece_leaf
from catalog.format.records import (
    IndexedPack,
    IndexObject,
    Item,
    Job,
    JobName,
    Machine,
    Point,
    PointName,
    Problem,
    Root,
    decode_record,
    encode_record,
)
from catalog.format.sealed import MAX_SEALED, MAX_SEALED_INDEX, Kind, open_object, seal_object
from catalog.format.slots import KdfParameters, Slot
from catalog.format.values import Hole
from catalog.format.vaultfile import VaultFile
from catalog.tree import NumberedLeaf
from tests.kit.format_values import (
    FEW,
    KEYS,
    MANY,
    anything,
    ids,
    lengths,
    names,
    offsets,
    pack_ids,
    sealed_lengths,
    texts,
    totals,
    whole,
)

# --- records -----------------------------------------------------------------------------------------------

roots = st.builds(Root, st.integers(0, 8), ids, offsets, sealed_lengths, offsets, lengths, ids, totals)
points = st.builds(
    Point,
    id=ids, machine=ids, item=ids, machine_name=texts, item_name=texts, hostname=texts, system=texts,
    sequence=st.integers(1, 10**12), previous=st.none() | ids, time=st.integers(10**18, 4 * 10**18), finished=whole,
    paths=st.lists(st.binary(max_size=50), max_size=3), excludes=st.lists(texts, max_size=3),
    root=st.none() | roots, partial=st.booleans(), links=st.integers(0, 2**31 - 1), new_bytes=whole,
    problems=st.lists(st.builds(Problem, st.binary(max_size=9), texts), max_size=3),
)  # fmt: skip
machines = st.builds(
    Machine, id=ids, name=texts, hostname=texts, system=texts, created=whole, forgotten=st.booleans()
)
jobs = st.builds(
    Job,
    id=ids, machine=ids, item=st.none() | ids, kind=texts, outcome=texts, machine_name=texts, hostname=texts,
    time=st.integers(10**18, 4 * 10**18), finished=whole, point=st.none() | ids, files=whole, error=texts,
    problems=st.lists(st.builds(Problem, st.binary(max_size=9), texts), max_size=3),
)  # fmt: skip
items = st.builds(Item, id=ids, machine=ids, name=texts, paths=st.lists(st.binary(), max_size=3), created=whole)


def rows(packs: list[tuple[bytes, list[int]]]) -> IndexObject:
    builders = []
    for pack, sizes in packs:
        builder = PackBuilder(KEYS, PackKind.DATA, bytes(16), pack_id=pack)
        builder.add(encode_frame(bytes(sum(sizes))), sizes, b"".join(bytes([n]) * 16 for n in range(len(sizes))))
        builders.append(IndexedPack(pack, builder.rows))
    return IndexObject(packs=builders)


indexes = st.lists(st.tuples(ids, st.lists(st.integers(1, 99), max_size=5)), max_size=4).map(rows)


T = TypeVar("T", JobName, PointName)


def changed(name: T, field: str, value: object) -> T:
    """The name with another value in one field."""
    return type(name)(**name._asdict() | {field: value})


@MANY
@given(points | machines | items | jobs | indexes)
def test_records_come_back_and_later_versions_may_add_fields(record: Any) -> None:
    data = encode_record(record)
    assert decode_record(type(record), data, "a record") == record
    more = msgspec.msgpack.decode(data) | {"field of a later version": [1, b"2"]}
    assert decode_record(type(record), msgspec.msgpack.encode(more), "a record") == record


@MANY
@given(jobs)
def test_names_of_jobs(job: Job) -> None:
    name = JobName.of(job)
    assert JobName.parse(str(name)) == name
    name.check(job)
    for field, value in (
        ("machine", bytes([job.machine[0] ^ 1]) + job.machine[1:]),
        ("time", name.time + 10**9),
        ("id", bytes([job.id[0] ^ 1]) + job.id[1:]),
    ):
        with pytest.raises(Damaged):
            changed(name, field, value).check(job)
    for text in (f"{name} ", str(name).upper(), str(name).replace("Z-", "-"), f"jobs/{name}"):
        assert JobName.parse(text) is None


@MANY
@given(points)
def test_names_of_points(point: Point) -> None:
    name = PointName.of(point)
    assert PointName.parse(str(name)) == name
    name.check(point)
    for field, value in (
        ("sequence", point.sequence + 1),
        ("id", bytes([point.id[0] ^ 1]) + point.id[1:]),
        ("partial", not point.partial),
    ):
        with pytest.raises(Damaged):
            changed(name, field, value).check(point)


@MANY
@given(
    st.from_regex(r"points/[0-9a-f]{32}/[0-9a-f]{32}/\d{8}T\d{6}Z-\d{8,9}-[0-9a-f]{32}(\.partial)?", fullmatch=True)
)
def test_a_point_has_one_name(text: str) -> None:
    name = PointName.parse(text)
    assert name is None or str(name) == text


# --- frames, blocks, packs ----------------------------------------------------------------------------------

raws = st.binary(max_size=2000) | st.builds(lambda b, n: b * n, st.binary(max_size=20), st.integers(0, 5000))


@MANY
@given(raws, st.integers(1, 9))
def test_frames_come_back_and_only_within_bounds(raw: bytes, level: int) -> None:
    frame = encode_frame(raw, level)
    assert len(frame) <= len(raw) + 5
    assert bytes(decode_frame(frame, len(raw), "a frame")) == raw
    if raw:
        with pytest.raises(Damaged):
            decode_frame(frame, len(raw) - 1, "a frame")


@MANY
@given(raws, st.sampled_from(PackKind), pack_ids, st.integers(8, 2**63), st.data())
def test_blocks_open_where_they_were_sealed_and_nowhere_else(
    raw: bytes, kind: PackKind, pack: bytes, offset: int, data: st.DataObject
) -> None:
    assume(len(raw) <= MAX_RAW[kind])
    sealed = seal_block(KEYS, kind, pack, offset, encode_frame(raw))
    assert bytes(open_block(KEYS, kind, pack, offset, sealed)) == raw
    at = data.draw(st.integers(0, len(sealed) - 1))
    broken = sealed[:at] + bytes([sealed[at] ^ data.draw(st.integers(1, 255))]) + sealed[at + 1 :]
    other_kind = data.draw(st.sampled_from([k for k in PackKind if k is not kind]))
    other_pack = bytes([pack[0] ^ 1]) + pack[1:]
    other_vault = Keys(KEYS.master, bytes(16))
    for place in (
        (KEYS, kind, pack, offset, broken),
        (KEYS, kind, pack, offset, sealed[:at]),
        (KEYS, other_kind, pack, offset, sealed),
        (KEYS, kind, other_pack, offset, sealed),
        (KEYS, kind, pack, offset + 1, sealed),
        (other_vault, kind, pack, offset, sealed),
    ):
        with pytest.raises(Damaged):
            open_block(*place)


@FEW
@given(
    st.sampled_from((PackKind.DATA, PackKind.TREE)),
    st.lists(st.lists(st.binary(min_size=1, max_size=200), max_size=5), max_size=9),
)
def test_packs_come_back_from_their_own_contents(kind: PackKind, blocks: list[list[bytes]]) -> None:
    builder = PackBuilder(KEYS, kind, bytes(16))
    for chunks in blocks:
        chunk_ids = b"".join(KEYS.chunk_id(c) for c in chunks)
        builder.add(encode_frame(b"".join(chunks)), [len(c) for c in chunks], chunk_ids)
    data = b"".join(builder.finish())
    found = decode_pack(KEYS, kind, builder.id, data)
    assert found == builder.rows
    assert decode_trailer(data[-16:], len(data), "a pack") == decode_trailer(data, len(data), "a pack")
    for row, chunks in zip(found, blocks, strict=True):
        raw = bytes(open_block(KEYS, kind, builder.id, row.offset, data[row.offset : row.offset + row.stored]))
        places = list(row.extents(builder.id))
        assert [raw[e.inner : e.inner + e.length] for e in places] == chunks
        assert [e.id for e in places] == [KEYS.chunk_id(c) for c in chunks]


@pytest.mark.parametrize("kind", (PackKind.DATA, PackKind.TREE))
def test_a_pack_refuses_blocks_that_could_not_be_read_again(kind: PackKind) -> None:
    size = MAX_RAW[kind]
    builder = PackBuilder(KEYS, kind, bytes(16))
    row = builder.add(encode_frame(bytes(size)), [size], bytes(16))
    data = b"".join(builder.finish())
    assert len(open_block(KEYS, kind, builder.id, row.offset, data[row.offset : row.offset + row.stored])) == size
    with pytest.raises(Unwritable, match=f"{size + 1} bytes in {builder.name} could not be read again"):
        builder.add(encode_frame(bytes(size + 1)), [size + 1], bytes(16))


def test_texts_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(UsageError):
        encode_record(Machine(id=bytes(16), name="\udcff", hostname="", system="", created=0))


@FEW
@given(raws, st.sampled_from(Kind), st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_objects_open_under_their_name_only(content: bytes, kind: Kind, name: str) -> None:
    sealed = seal_object(KEYS, kind, name, content)
    assert bytes(open_object(KEYS, kind, name, sealed)) == content
    assert sealed != seal_object(KEYS, kind, name, content), "each object must get a new salt"
    for other in (name + "x", name[:-1], name.swapcase() if name.swapcase() != name else "y" + name):
        with pytest.raises(Damaged):
            open_object(KEYS, kind, other, sealed)


# --- garbage -----------------------------------------------------------------------------------------------

HOME = Extent(bytes(16), 8, 99, 0, 1, bytes(16))


def use_leaf(data: bytes) -> None:
    leaf = decode_leaf(data, HOME)
    for entry in leaf.entries:
        leaf.entries_in(entry)
    totals_of([leaf.node(entry) for entry in leaf.entries])


def use_pack(data: bytes) -> None:
    decode_pack(KEYS, PackKind.DATA, bytes(16), b"RPDPACK\x01" + data)


def sealed_contents(data: bytes) -> None:
    sealed = seal_block(KEYS, PackKind.DATA_CONTENTS, bytes(16), 8, encode_frame(data))
    decode_contents(KEYS, PackKind.DATA, bytes(16), 8, sealed)


def use_folder_index(data: bytes) -> None:
    index = decode_folder_index(data, HOME)
    for child in index.children:
        index.at(child)


def use_piece_index(data: bytes) -> None:
    index = decode_piece_index(data, HOME)
    for child in index.children:
        index.at(child)


DECODERS: dict[str, Callable[[bytes], Any]] = {
    "leaf": use_leaf,
    "folder index": use_folder_index,
    "piece leaf": lambda data: decode_piece_leaf(data, HOME).pieces(),
    "piece index": use_piece_index,
    "machine": lambda data: decode_record(Machine, data, "a record"),
    "item": lambda data: decode_record(Item, data, "a record"),
    "point": lambda data: decode_record(Point, data, "a record"),
    "job": lambda data: decode_record(Job, data, "a record"),
    "index": lambda data: decode_record(IndexObject, data, "a record"),
    "frame": lambda data: decode_frame(data, 1 << 16, "a frame"),
    "zstd": lambda data: decode_frame(b"\x01\x00\x00\x00\x64" + data, 1 << 16, "a frame"),
    "block": lambda data: open_block(KEYS, PackKind.DATA, bytes(16), 8, data),
    "contents": sealed_contents,
    "trailer": lambda data: decode_trailer(data, len(data), "a pack"),
    "pack": use_pack,
    "object": lambda data: open_object(KEYS, Kind.POINT, "a name", b"RPDS\x01\x03\0\0" + data),
    "vault file": VaultFile.decode,
}


def quietly(decode: Callable[[bytes], Any], data: bytes) -> None:
    try:
        decode(data)
    except RpdriveError:
        pass


@pytest.mark.parametrize("name", DECODERS)
def test_random_bytes_raise_our_errors_only(name: str) -> None:
    @settings(MANY, max_examples=60)
    @given(st.binary(max_size=300))
    def check(data: bytes) -> None:
        quietly(DECODERS[name], data)

    check()


SHAPED: dict[str, st.SearchStrategy[Any]] = {
    "leaf": st.tuples(st.lists(ids | anything, max_size=2), anything, anything, anything),
    "folder index": st.tuples(
        st.lists(ids, max_size=2), st.lists(st.tuples(names, anything, anything), max_size=3)
    ),
    "piece leaf": st.tuples(st.lists(ids, max_size=2), st.lists(st.lists(anything, max_size=7), max_size=3)),
    "piece index": st.tuples(st.lists(ids, max_size=2), st.lists(st.tuples(anything, anything), max_size=3)),
    "point": st.dictionaries(st.sampled_from(Point.__struct_fields__), anything),
    "index": st.fixed_dictionaries({"packs": anything}),
    "contents": st.lists(st.lists(anything, max_size=5), max_size=3),
}


@pytest.mark.parametrize("name", SHAPED)
def test_the_wrong_values_in_the_right_shape_raise_our_errors_only(name: str) -> None:
    @settings(MANY, max_examples=60)
    @given(SHAPED[name])
    def check(value: Any) -> None:
        quietly(DECODERS[name], msgspec.msgpack.encode(value))

    check()


@MANY
@given(
    st.fixed_dictionaries({
        "name": names, "kind": st.integers(0, 9), "owner": st.integers(-1, 1), "content": anything,
        "xattrs": st.integers(-2, 2),
        "sets": st.lists(st.lists(st.tuples(names, anything), max_size=2), max_size=2),
    })
)  # fmt: skip
def test_entries_of_any_content_raise_our_errors_only(row: dict[str, Any]) -> None:
    entry = [row["name"], row["kind"], 0, row["owner"], 0, 0, 0, 0, 1, 0, row["content"], row["xattrs"], None]
    quietly(use_leaf, msgspec.msgpack.encode([[bytes(16)], [[0, 0, "", ""]], row["sets"], [entry]]))


@MANY
@given(st.data())
def test_a_vault_file_with_any_one_value_changed(data: st.DataObject) -> None:
    slot = Slot("0badcafe", KdfParameters(64, 1, 1), bytes(16), bytes(32), bytes(48), "now")
    row = json.loads(VaultFile(KEYS.vault_id, 1, "now", (slot,)).encode(KEYS))
    where = data.draw(st.sampled_from((row, row["slots"][0])))
    value = data.draw(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50) | st.lists(st.none())
    )
    field = data.draw(st.sampled_from(sorted(where)))
    assume(where[field] != value)
    where[field] = value

    def use(text: bytes) -> None:
        VaultFile.decode(text).verify(KEYS)

    with pytest.raises(RpdriveError):
        use(json.dumps(row).encode())


def test_leaves_have_the_shape_that_the_garbage_tests_use() -> None:
    """A good page of this shape is read, so that the tests above don't all fail at the first field."""
    entry = [b"name", 0, 0, 0, 0, 0, 0, 0, 1, 0, [[0, 8, 99, 0, 5, bytes(16)], [7]], 0, None]
    page = msgspec.msgpack.encode([[bytes(16)], [[0, 0, "", ""]], [[[b"user.a", b"1"]]], [entry]])
    leaf: Leaf = decode_leaf(page, HOME)
    node = leaf.node(leaf.entries[0])
    assert node.content == [HOME._replace(length=5), Hole(7)]
    assert node.xattrs == {b"user.a": b"1"}


# --- what a reader would refuse is not written -----------------------------------------------------------------


def test_a_pack_refuses_a_table_of_contents_that_could_not_be_read_again() -> None:
    builder = PackBuilder(KEYS, PackKind.DATA, bytes(16))
    row = builder.add(encode_frame(b"x"), [1], bytes(16))
    builder.rows = [row] * (MAX_RAW[PackKind.DATA_CONTENTS] // 20)
    with pytest.raises(Unwritable, match=f"the contents of {builder.name}, [0-9]+ bytes, could not be read again"):
        builder.finish()


def test_an_object_refuses_content_that_could_not_be_read_again() -> None:
    noise = random.Random(1).randbytes(1 << 20)
    for kind, most in ((Kind.POINT, MAX_SEALED), (Kind.INDEX, MAX_SEALED_INDEX)):
        fits = noise * ((most >> 20) - 1)
        with mock.patch.object(sealed, "encode_frame", lambda raw: FRAME.pack(0, len(raw)) + bytes(raw)):
            data = seal_object(KEYS, kind, "a name", fits)
            assert len(data) <= most and open_object(KEYS, kind, "a name", data) == fits
            with pytest.raises(Unwritable, match=f"a name would have [0-9]+ bytes, more than the limit of {most}"):
                seal_object(KEYS, kind, "a name", fits + noise)
    with pytest.raises(Unwritable, match="a name would hold 268435457 bytes, more than the limit of 268435456"):
        seal_object(KEYS, Kind.POINT, "a name", bytes((256 << 20) + 1))


@pytest.mark.parametrize(
    ("field", "value"),
    [("time", -1), ("finished", -1), ("time", 2**64), ("links", 2**31), ("id", b"short"), ("sequence", -1)],
)
def test_a_record_refuses_values_that_could_not_be_read_again(field: str, value: object) -> None:
    fields = {
        "id": bytes(16), "machine": bytes(16), "item": bytes(16), "machine_name": "", "item_name": "",
        "hostname": "", "system": "", "sequence": 1, "time": 1, "finished": 1, "paths": [],
    }  # fmt: skip
    encode_record(Point(**fields))  # type: ignore[arg-type]
    with pytest.raises(Unwritable, match="the record of a point could not be read again"):
        encode_record(Point(**fields | {field: value}))  # type: ignore[arg-type]


# --- one bad entry costs that entry -----------------------------------------------------------------------------

VECTORS = Path(__file__).parents[1] / "vectors" / "faults"
MALFORMED = sorted(p.stem for p in VECTORS.glob("entry-*.json"))


@pytest.mark.parametrize("name", MALFORMED)
def test_the_rest_of_a_folder_with_a_malformed_entry_is_read(name: str) -> None:
    read = json.loads((VECTORS / f"{name}.json").read_text())["read"]
    (page,) = (bytes.fromhex(p) for p in read["pages"])
    if name == "entry-without-name":
        with pytest.raises(Damaged):
            decode_leaf(page, HOME)
        return
    leaf = decode_leaf(page, HOME)
    bad = 0
    for entry in leaf.entries:
        try:
            assert leaf.node(entry).name == entry.name
        except Damaged as e:
            bad += 1
            assert repr(entry.name.decode()) in str(e)
    assert bad == 1
    assert NumberedLeaf(leaf, 2).numbers() == [2, 3, 4][: len(leaf.entries)]


def test_a_malformed_folder_keeps_the_numbers_of_what_follows() -> None:
    below = [0, [0, 8, 99, 0, 5, bytes(16)], [41, 0, 0, 0]]
    rows = [[n, 1, mode, 0, 0, 0, 0, 0, 1, 0, below, -1, None] for n, mode in ((b"a", 1 << 20), (b"b", 0o755))]
    leaf = decode_leaf(msgspec.msgpack.encode([[bytes(16)], [[0, 0, "", ""]], [], rows]), HOME)
    assert NumberedLeaf(leaf, 2).numbers() == [2, 44]
    with pytest.raises(Damaged):
        leaf.node(leaf.entries[0])
    assert leaf.node(leaf.entries[1]).mode == 0o755
