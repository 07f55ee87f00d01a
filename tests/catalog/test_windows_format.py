"""Windows entries in a vault: written, copied unchanged, and read by the reader made from docs/format.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import Damaged
from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.pages import decode_leaf
from catalog.format.values import Hole, NodeKind, Paged, Piece
from catalog.format.windows import STREAMS_MAX, Stream, Windows, name_bytes, name_text, stream_bound
from catalog.format.writing import FolderWriter, write_folder
from catalog.new_vault import create_vault
from catalog.store.address import open_store
from catalog.tree import leaves, walk
from catalog.windows.descriptor import from_sddl
from tests.catalog.test_independent_reader import DECOMPOSED, check_objects
from tests.kit import independent_reader as reader
from tests.kit import make_vectors
from tests.kit.format_values import FEW, MANY, Pages, nodes, plain, windows
from tests.kit.vaults import CHEAP
from tests.kit.windows_machine import HOME, Machine, make_windows

VECTOR = json.loads((make_vectors.FOLDER / "windows.json").read_text())


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    """The golden vault of a Windows machine, in a folder."""
    for name, data in VECTOR["objects"].items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes.fromhex(data))
    return tmp_path


def told(content: Any) -> list[Any]:
    return [piece if isinstance(piece, int) else bytes(piece).hex() for piece in content]


def said(entry: Any) -> dict[str, Any] | None:
    """The findings of the independent reader, in the terms of the vector."""
    found = entry.windows
    if found is None:
        return None
    return {
        "attributes": found["attributes"],
        "created": found.get("created"),
        "security": found["security"].hex() if "security" in found else None,
        "streams": [
            {"name": name.hex(), "size": size, "content": told(content)}
            for name, (size, content) in found["streams"].items()
        ],
        "reparse": found["reparse"].hex() if "reparse" in found else None,
        "extended": found["extended"].hex() if "extended" in found else None,
        "short_name": found.get("short", b"").decode(),
        "efs": found.get("efs"),
    }


def test_the_reader_made_from_the_page_finds_all_that_windows_knew(vault: Path) -> None:
    found = [
        (path.hex(), told(e.content), said(e)) for path, e in reader.read_point(vault, VECTOR["passphrase"], None)
    ]
    wanted = [
        (row["path"], row["content"] if row["kind"] == NodeKind.FILE else [], row.get("windows"))
        for row in VECTOR["tree"]
    ]
    assert found == wanted


# Each turns a leaf's entries into something that no writer would write.
CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "attributes of 33 bits": lambda more: more.update(attributes=1 << 32),
    "a set outside its table": lambda more: more.update(security=99),
    "a set of something else": lambda more: more.update(reparse=more.get("security", 99)),
    "a stream named as a path": lambda more: more.update(streams=[[b"a\\b", 0, []]]),
    "a stream twice": lambda more: more.update(streams=[[b"a", 0, []], [b"a", 0, []]]),
    "a stream shorter than its size": lambda more: more.update(streams=[[b"a", 1, []]]),
    "a stream without pieces": lambda more: more.update(streams=[[b"a", 1]]),
    "a short name in text": lambda more: more.update(short="A~1"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_reader_made_from_the_page_refuses(what: str, vault: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = reader.Vault.chunk

    def changed(self: reader.Vault, place: Any, kind: int) -> bytes:
        raw = chunk(self, place, kind)
        page = msgspec.msgpack.decode(raw) if kind == reader.META and raw[:1] == b"\x94" else None
        if page is None:
            return raw
        for entry in page[3]:
            if entry[12]:
                CHANGES[what](entry[12])
        return msgspec.msgpack.encode(page)

    monkeypatch.setattr(reader.Vault, "chunk", changed)
    with pytest.raises(reader.REFUSED):
        for _path, entry in reader.read_point(vault, VECTOR["passphrase"]):
            said(entry)


value = st.none() | st.booleans() | st.integers(-2, 2**64 - 1) | st.binary(max_size=20) | st.text(max_size=3)
few = st.integers(0, 3)
place = st.tuples(few, few, few, few, few, st.binary(min_size=15, max_size=17) | value)
contents = st.lists(place | st.tuples(few), max_size=3) | st.fixed_dictionaries(
    {"l": few, "a": place, "n": few, "d": st.just(bytes(16))}
)
streams = st.lists(st.tuples(st.sampled_from((b"a", b"b", b"c", b"\\", b"\xff")), few, contents), max_size=3)
garbage = st.fixed_dictionaries(
    {"attributes": st.just(32)},
    optional={
        "security": few,
        "reparse": few,
        "extended": few,
        "streams": streams,
        "short": st.just(b"A~1"),
        "created": few | value,
        "efs": few,
    },
)
names = st.sampled_from((b"security", b"reparse", b"extended", b"other"))
table = st.lists(st.lists(st.tuples(names, place | st.binary(max_size=9) | value), max_size=2), max_size=3)


@MANY
@given(garbage, table)
def test_no_garbage_in_an_entry_does_harm(more: dict[str, Any], sets: list[Any]) -> None:
    entry = [b"name", 0, 0o644, 0, 0, 0, 0, 1, 1, 0, [], -1, more]
    page = msgspec.msgpack.encode([[bytes(16)], [[0, 0, "", ""]], sets, [entry]])
    try:
        leaf = decode_leaf(page, Extent(bytes(16), 8, 99, 0, 1, bytes(16)))
        leaf.node(leaf.entries[0])
        leaf.contents(leaf.entries[0])
    except Damaged as e:
        assert str(e)


def test_what_a_backup_writes_is_as_the_page_says(tmp_path: Path) -> None:
    double, folder = make_windows(), tmp_path / "vault"
    machine = Machine(tmp_path / "state", create_vault(open_store(folder.as_uri()), DECOMPOSED, CHEAP))
    machine.back_up(double)
    double.touch(f"{HOME}\\first", b"changed")  # the rest is copied unchanged to other pages
    double.add(f"{HOME}\\Documents\\another", b"new", security=from_sddl("D:(A;;FA;;;WD)"))
    machine.back_up(double)
    check_objects(folder)
    found = dict(reader.read_point(folder, DECOMPOSED))
    wanted = {f"C/{path[2:]}".replace("\\", "/").encode("utf-8", "surrogatepass"): e for path, e in double.walk()}
    assert {path for path in found if path.startswith(b"C/Users/anna/")} == {
        path for path in wanted if path.startswith(b"C/Users/anna/")
    }
    for path, entry in found.items():
        w, kept = entry.windows, wanted.get(path)
        if kept is None or not path.startswith(b"C/Users/anna/"):
            continue
        item = kept.item
        assert w["attributes"] == item.attributes
        assert w["created"] == (item.created - 116_444_736_000_000_000) * 100
        assert w.get("security", b"") == item.security
        assert w.get("extended", b"") == item.extended
        assert w.get("short", b"").decode() == kept.short
        seen_through = path.endswith(b"/deduplicated")
        assert w.get("reparse", b"") == (b"" if seen_through else item.reparse)
        own = dict(item.streams)
        data = own.pop("", None)
        assert {n: b"".join(told_bytes(c)) for n, (_size, c) in w["streams"].items()} == {
            name_bytes(n): bytes(stream.data) for n, stream in own.items()
        }
        if entry.kind == NodeKind.FILE:
            assert b"".join(told_bytes(entry.content)) == bytes(data.data if data is not None else b"")
        assert (entry.uid, entry.gid) == (-1, -1)


def told_bytes(content: Any) -> Iterator[bytes]:
    return (bytes(piece) for piece in content)


# --- writing -------------------------------------------------------------------------------------------------


@FEW
@given(st.data(), st.integers(1, 7))
def test_entries_put_into_other_pages_stay_what_they_are(data: st.DataObject, count: int) -> None:
    # As a backup does: unchanged entries go from pages of the previous point to new ones, with different tables.
    pages = Pages()
    first = [data.draw(nodes(b"%03d" % n)) for n in range(count)]
    folder = write_folder(first, pages.write)
    found = [p.leaf.node(e) for p in leaves(pages, folder, 1) for e in p.leaf.entries]
    more = [plain(b"%03d +" % n, n, windows=data.draw(windows())) for n in range(0, count, 3)]
    again = write_folder(sorted(found + more, key=lambda n: n.name), pages.write)
    kept = [p.leaf.node(e) for p in leaves(pages, again, 1) for e in p.leaf.entries if b"+" not in e.name]
    assert kept == first


@FEW
@given(st.lists(windows(), min_size=1, max_size=30))
def test_contents_are_a_files_own_and_those_of_its_streams(known: list[Windows]) -> None:
    pages = Pages()
    written = [plain(b"%03d" % n, n, windows=w) for n, w in enumerate(known)]
    folder = write_folder(written, pages.write)
    for (_path, found), node in zip(walk(pages, folder), written, strict=True):
        assert node.windows is not None
        own, *streams = found.leaf.contents(found.entry)
        assert own == node.content
        assert streams == [s.content for s in node.windows.streams]
    assert folder is not None and folder.totals[1:] == (len(known), 5 * len(known), 0)


@MANY
@given(st.text(st.characters(exclude_categories=()), max_size=30))
def test_names_of_any_utf_16_come_back(name: str) -> None:
    assert name_text(name_bytes(name)) == name


def test_a_file_of_as_many_streams_as_may_be_fits_a_page() -> None:
    at = Extent(b"p" * 16, 2**40, 2**23, 2**32, 2**40, b"i" * 16)
    streams: list[Stream] = []
    room = STREAMS_MAX
    while True:
        n = len(streams)
        content: list[Piece] | Paged = [at, Hole(2**60)] * 16 if n % 2 else Paged(8, at, 2**60, b"d" * 16)
        stream = Stream("\uffff" * 250 + f"{n:05}", 2**62, content)
        room -= stream_bound(stream)
        if room < 0:
            break
        streams.append(stream)
    pages = Pages()
    large = bytes(4096)
    node = plain(
        b"n" * 1024, windows=Windows(0, 0, large, streams, large, large), xattrs={b"user.a": bytes(16 << 10)}
    )
    folder = write_folder([node], pages.write)
    (page,) = pages.pages.values()
    assert STREAMS_MAX // 2 < len(page) < STREAMS_MAX + (64 << 10) < 1 << 20
    assert [w.found.leaf.node(w.found.entry) for w in walk(pages, folder)] == [node]


def test_a_descriptor_that_many_have_stands_once() -> None:
    pages = Pages()
    writer = FolderWriter(pages.write)
    descriptor = bytes(range(200))
    for n in range(50):
        writer.add(plain(b"name %03d" % n, n, windows=Windows(32, n, descriptor)))
    writer.finish()
    assert sum(page.count(descriptor) for page in pages.pages.values()) <= len(pages.pages)
    assert sum(map(len, pages.pages.values())) < 50 * 150


def test_a_node_of_another_system_is_written_as_before() -> None:
    pages = Pages()
    write_folder([plain(b"a", 1, more={"future": 1}), plain(b"b", 2)], pages.write)
    (page,) = pages.pages.values()
    entries = msgspec.msgpack.decode(page)[3]
    assert [e[12] for e in entries] == [{"future": 1}, None]
    assert Node.__struct_fields__[-1] == "windows"
