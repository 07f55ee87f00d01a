"""What a leaf refers to is found all at once, and is what its entries say one by one."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import Damaged
from catalog.format.nodes import totals
from catalog.format.packs import Extent
from catalog.format.pages import Leaf, decode_leaf
from catalog.format.values import NodeKind, OutOfLine, Paged
from catalog.format.writing import write_folder
from catalog.mark.leaf import LeafContents, contents_of
from catalog.mark.live import packed
from tests.kit.format_values import FEW, Pages, names, nodes


def one_by_one(leaf: Leaf) -> tuple[dict[bytes, set[int]], list[Any], list[Any], set[bytes]]:
    """Blocks by pack, folders, contents in pages, and the names of entries that are malformed."""
    blocks: dict[bytes, set[int]] = {}
    folders, paged, malformed = list[Any](), list[Any](), set[bytes]()
    for entry in leaf.entries:
        try:
            leaf.node(entry)
            contents = contents_of(leaf, entry)
        except Damaged:
            malformed.add(entry.name)
            continue
        if entry.kind == NodeKind.FOLDER and entry.content is not None:
            folders.append((entry.name, leaf.subtree(entry)))
        for content, size in contents:
            if isinstance(content, Paged):
                paged.append((entry.name, content, size))
                continue
            for piece in content:
                if isinstance(piece, Extent):
                    blocks.setdefault(piece.pack, set()).add(packed(piece.offset, piece.stored))
    return blocks, folders, paged, malformed


@FEW
@given(st.data(), st.sets(names, min_size=1, max_size=3))
def test_a_leaf_is_read_as_its_entries_are(data: st.DataObject, chosen: set[bytes]) -> None:
    pages = Pages()
    written = [data.draw(nodes(name)) for name in sorted(chosen)]
    folder = write_folder(written, pages.write)
    assert folder is not None
    if folder.level:
        return
    leaf = pages.leaf(folder.at)
    found = LeafContents(leaf)
    blocks, folders, paged, malformed = one_by_one(leaf)
    assert (found.blocks, sorted(found.folders), sorted(found.paged)) == (blocks, sorted(folders), sorted(paged))
    assert found.totals == folder.totals == totals(written)
    assert not malformed and not any(wrong.malformed for wrong in found.wrong)
    values = {v.at for n in written for v in (n.xattrs or {}).values() if isinstance(v, OutOfLine)}
    values |= {v.at for n in written if n.windows for v in n.windows.values() if isinstance(v, OutOfLine)}
    assert set(found.values) == values


# Where in an entry what is put, by which it may become malformed.
PLACES = [(1,), (3,), (4,), (10,), (11,), (12,), (10, 0), (12, "security"), (12, "streams"), (12, "short")]
junk = st.sampled_from(
    [None, -1, 7, 2**40, b"", b"\xff", [], [[7]], [[0, 8, 9, 0, 5, b"i" * 16]], {"l": 0}, "text"]
)


@FEW
@given(st.data(), st.sets(names, min_size=1, max_size=3))
def test_what_is_malformed_costs_its_entry_alone(data: st.DataObject, chosen: set[bytes]) -> None:
    pages = Pages()
    folder = write_folder([data.draw(nodes(name)) for name in sorted(chosen)], pages.write)
    assert folder is not None
    if folder.level:
        return
    page = msgspec.msgpack.decode(pages.pages[folder.at.id])
    for row in page[3]:
        for where in data.draw(st.lists(st.sampled_from(PLACES), max_size=2)):
            put(row, where, data.draw(junk))
    try:
        leaf = decode_leaf(msgspec.msgpack.encode(page), folder.at)
    except Damaged:
        return
    found = LeafContents(leaf)
    blocks, folders, paged, malformed = one_by_one(leaf)
    assert {wrong.name for wrong in found.wrong if wrong.malformed} == malformed
    for pack, some in blocks.items():
        assert some <= found.blocks[pack]
    assert [one for one in folders if one not in found.folders] == []
    assert [one for one in paged if one not in found.paged] == []


def put(row: list[Any], where: tuple[Any, ...], value: object) -> None:
    """Put a value into an entry, if there is such a place."""
    holder: Any = row
    for step in where[:-1]:
        holder = holder[step]
    last = where[-1]
    if isinstance(holder, dict) or (isinstance(holder, list) and isinstance(last, int) and len(holder) > last):
        holder[last] = value
