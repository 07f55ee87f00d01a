"""Values of the format, drawn by hypothesis, for tests that write and read them."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from catalog.format.keys import Keys
from catalog.format.message import MAX_BLOCK, MAX_ENTRIES, MAX_OFFSET, MAX_SIZE
from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.values import Hole, NodeKind, OutOfLine, Owner, Paged, Piece, Subtree, Totals
from catalog.format.windows import KEYS as windows_keys
from catalog.format.windows import Stream, Windows, name_bytes
from catalog.tree import ChunkSource

FEW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
MANY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
KEYS = Keys(bytes(range(32)), bytes(range(16)))

ids = st.binary(min_size=16, max_size=16)
pack_ids = ids.map(lambda one: one[:4] + b"\0" + one[5:])
whole, sizes, u32 = (st.integers(0, most) for most in (2**64 - 1, MAX_SIZE, 2**32 - 1))
lengths = st.integers(1, 2**40)
times = st.integers(-(2**63), 2**63 - 1)
names = (
    st.binary(min_size=1, max_size=255)
    .map(lambda b: b.replace(b"/", b"|").replace(b"\0", b"0"))
    .filter(lambda b: b not in (b".", b".."))
)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
other_keys = texts.filter(lambda key: key not in windows_keys)
offsets, sealed_lengths = st.integers(0, MAX_OFFSET), st.integers(1, MAX_BLOCK)
extents = st.builds(Extent, ids, offsets, sealed_lengths, offsets, lengths, ids)
counts = st.integers(0, MAX_ENTRIES)
totals = st.builds(Totals, counts, counts, whole, counts)
pieces = st.lists(st.one_of(extents, st.builds(Hole, lengths)), max_size=32)
anything: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=20) | texts | st.floats(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(texts | st.binary(max_size=3), inner, max_size=3),
    max_leaves=20,
)
xattrs = st.dictionaries(names, st.binary(max_size=300) | st.builds(OutOfLine, extents), min_size=1, max_size=5)
owner_ids = st.integers(-1, 2**32 - 2)
CONTENT: dict[NodeKind, st.SearchStrategy[Any]] = {
    NodeKind.FILE: pieces | st.builds(Paged, st.integers(0, 8), extents, sizes, ids),
    NodeKind.FOLDER: st.none() | st.builds(Subtree, st.integers(0, 8), extents, totals),
    NodeKind.SYMLINK: st.binary(max_size=300).map(lambda b: b.replace(b"\0", b"0")),
    NodeKind.FIFO: st.none(),
    NodeKind.SOCKET: st.none(),
    NodeKind.CHAR_DEVICE: st.tuples(u32, u32),
    NodeKind.BLOCK_DEVICE: st.tuples(u32, u32),
}
assert set(CONTENT) == set(NodeKind)
stream_names = st.text(st.characters(exclude_characters="/\\:\0", exclude_categories=()), min_size=1, max_size=20)
values = st.none() | st.binary(max_size=300) | st.builds(OutOfLine, extents)


@st.composite
def windows(draw: st.DrawFn) -> Windows:
    named = sorted(draw(st.sets(stream_names, max_size=4)), key=name_bytes)
    content = CONTENT[NodeKind.FILE]
    return Windows(
        draw(st.integers(0, 2**32 - 1)),
        draw(st.none() | times),
        draw(values),
        [Stream(name, draw(st.integers(0, 2**60)), draw(content)) for name in named],
        draw(values),
        draw(values),
        draw(st.text(max_size=12)),
        draw(st.none() | sizes),
    )


@st.composite
def nodes(draw: st.DrawFn, name: bytes) -> Node:
    kind = draw(st.sampled_from(NodeKind))
    return Node(
        name,
        kind,
        draw(st.integers(0, 0o7777)),
        draw(st.builds(Owner, owner_ids, owner_ids, texts, texts)),
        draw(sizes),
        draw(times),
        draw(times),
        draw(whole),
        nlink=draw(u32),
        link=draw(st.integers(0, 2**31 - 1)),
        content=draw(CONTENT[kind]),
        xattrs=draw(st.none() | xattrs),
        more=draw(st.none() | st.dictionaries(other_keys, st.binary(max_size=9) | times, min_size=1, max_size=3)),
        windows=draw(st.none() | windows()),
    )


class Pages(ChunkSource):
    """Pages in memory. `reads` counts fetched pages, `writes` new ones."""

    def __init__(self) -> None:
        self.pages: dict[bytes, bytes] = {}
        self.reads = self.writes = 0

    def write(self, page: bytes) -> Extent:
        chunk = KEYS.chunk_id(page)
        self.writes += chunk not in self.pages
        self.pages[chunk] = page
        return Extent(bytes(16), 8, 100, 0, len(page), chunk)

    def chunk(self, at: Extent) -> bytes:
        self.reads += 1
        return self.pages[at.id]


def plain(name: bytes, number: int = 0, **fields: Any) -> Node:
    """An ordinary node; `number` distinguishes it from others."""
    at = Extent(b"p" * 16, 8 + number, 30, 0, 5, number.to_bytes(16, "big"))
    values: dict[str, Any] = {"size": 5, "content": [at]} | fields
    return Node(name, NodeKind.FILE, 0o644, Owner(0, 0, "root", "root"), mtime=1, ctime=2, inode=number, **values)


def some_names(count: int, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    found: set[bytes] = set()
    while len(found) < count:
        found.add(bytes(chance.choices(range(48, 123), k=chance.choice((1, 3, 12, 12, 60, 255)))))
    return sorted(found)


def some_pieces(count: int, holes: float, seed: int) -> list[Piece]:
    chance = random.Random(seed)
    made: list[Piece] = []
    for _ in range(count):
        if chance.random() < holes:
            made.append(Hole(chance.choice((1, 4096, 1 << 44))))
        else:
            at = chance.randrange(8, 1 << 25)
            made.append(
                Extent(
                    bytes([chance.randrange(3)]) * 16, at, 99, 0, chance.randrange(1, 4 << 20), chance.randbytes(16)
                )
            )
    return made
