"""Sets and spans that do not fit into memory are the same in temporary files."""

from __future__ import annotations

import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import LocalError
from catalog.format.blocks import PackKind
from catalog.mark.ids import Ids
from catalog.mark.live import Live
from catalog.mark.objects import Objects
from tests.kit.format_values import FEW

ids = st.binary(min_size=16, max_size=16).filter(any)
# A few ids that share their first bytes, and so their slot.
close = st.integers(1, 300).map(lambda n: bytes(14) + n.to_bytes(2, "big"))
kinds = st.sampled_from([PackKind.DATA, PackKind.TREE])
packs = st.integers(0, 5).map(lambda n: b"\1\2\3\4\0" + bytes([7 - n, n]) + bytes(9))
blocks = st.tuples(kinds, packs, st.integers(0, 200), st.integers(1, 50))


@FEW
@given(st.lists(ids | close, max_size=300), st.sampled_from([1 << 4, 1 << 6, 1 << 21]))
def test_a_set_of_ids_knows_what_was_added(added: list[bytes], most: int) -> None:
    found, known = Ids(most), set[bytes]()
    for one in added:
        assert found.add(one) == (one not in known)
        known.add(one)
    assert len(found) == len(known) and set(found) == known
    assert all(one in found for one in known)
    assert (b"\xff" * 16 in found) == (b"\xff" * 16 in known)
    again = Ids.of_table(found.slots, len(found), found.parts(), most)
    assert set(again) == known and len(again) == len(known)
    fewer = again.without(set(added[::2]))
    assert set(fewer) == known - set(added[::2])
    for made in (found, again, fewer):
        made.close()


def joined(rows: list[tuple[PackKind, bytes, int, int]]) -> dict[tuple[PackKind, bytes], list[tuple[int, int]]]:
    """Spans of the bytes, found byte by byte."""
    there: dict[tuple[PackKind, bytes], set[int]] = {}
    for kind, pack, offset, stored in rows:
        there.setdefault((kind, pack), set()).update(range(offset, offset + stored))
    return {
        key: [
            (start, next(n for n in range(start, 1000) if n not in some))
            for start in sorted(some)
            if start - 1 not in some
        ]
        for key, some in there.items()
    }


@FEW
@given(st.lists(blocks, max_size=120), st.sampled_from([1, 7, 1000]), st.sampled_from([0, 800, 1 << 20]))
def test_spans_are_the_union_of_blocks(
    rows: list[tuple[PackKind, bytes, int, int]], recent: int, held: int
) -> None:
    live = Live(recent, held)
    for row in rows:
        live.add(*row)
    spans = {(kind, pack): some for kind in (PackKind.DATA, PackKind.TREE) for pack, some in live.spans(kind)}
    assert spans == joined(rows)
    for kind in (PackKind.DATA, PackKind.TREE):
        order = [pack for pack, _some in live.spans(kind)]
        assert order == sorted(order)
    again = Live(recent, held)
    packed = list(live.rows())
    again.add_rows(len(packed), iter([b"".join(packed[:3]), b"".join(packed[3:])]))
    for row in rows[:5]:
        again.add(*row)
    assert list(again.rows()) == packed
    live.close()
    again.close()


@FEW
@given(st.dictionaries(st.tuples(kinds, packs), st.integers(0, 2**40)))
def test_listings_are_found_again_in_any_order(sizes: dict[tuple[PackKind, bytes], int]) -> None:
    objects = Objects()
    for (kind, pack), size in sizes.items():
        assert objects.size(kind, pack) is None
        objects.add(kind, pack, size, 5)
    for kind in (PackKind.DATA, PackKind.TREE):
        for n in range(8):
            pack = b"\1\2\3\4\0" + bytes([7 - n, n]) + bytes(9)
            assert objects.size(kind, pack) == sizes.get((kind, pack))
    assert {(o.kind, o.id): o.size for o in objects} == sizes and len(objects) == len(sizes)


def test_a_temporary_folder_that_can_not_be_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    live = Live(1, 0)
    with pytest.raises(LocalError, match="/nowhere"):
        live.add(PackKind.DATA, b"p" * 16, 8, 10)
