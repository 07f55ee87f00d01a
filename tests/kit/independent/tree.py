"""Pages of trees, as docs/format.md defines them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import blake3

from tests.kit.independent import shapes
from tests.kit.independent.shapes import Damaged

FILE, FOLDER, SYMLINK, FIFO, CHARACTER, BLOCK, SOCKET = range(7)


Totals = tuple[int, int, int, int]


class Extent(NamedTuple):
    pack: bytes
    offset: int
    stored: int
    inner: int
    length: int
    id: bytes


class Piece(NamedTuple):
    """Bytes of a file: a chunk, or a hole."""

    chunk: Extent | None
    length: int


class Subtree(NamedTuple):
    level: int
    at: Extent
    totals: Totals | None


class Paged(NamedTuple):
    """Pieces in pages of their own."""

    level: int
    at: Extent
    stored: int
    digest: bytes


Fetch = Callable[[Extent], bytes]
Pieces = list[Piece] | Paged
Value = bytes | Extent


class Stream(NamedTuple):
    name: bytes
    size: int
    content: Pieces


@dataclass
class Windows:
    attributes: int
    created: int | None
    security: Value | None
    streams: list[Stream]
    reparse: Value | None
    extended: Value | None
    short: bytes
    efs: int | None


@dataclass
class Entry:
    """Of a damaged entry only the name is known."""

    name: bytes
    kind: int = -1
    mode: int = 0
    owner: tuple[int, int, str, str] = (-1, -1, "", "")
    size: int = 0
    mtime: int = 0
    ctime: int = 0
    inode: int = 0
    nlink: int = 0
    link: int = 0
    pieces: Pieces = field(default_factory=list)
    below: Subtree | None = None
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: list[tuple[bytes, Value]] = field(default_factory=list)
    more: dict[str, Any] | None = None
    windows: Windows | None = None
    damage: Damaged | None = None

    @property
    def totals(self) -> Totals:
        """What the entry adds to the totals of its folder."""
        below = (self.below and self.below.totals) or (0, 0, 0, 0)
        file = self.kind == FILE
        own = (1, int(file), self.size if file else 0, int(bool(self.xattrs)))
        return add([own, below])


def add(rows: list[Totals]) -> Totals:
    a, b, c, d = (sum(column) for column in zip((0, 0, 0, 0), *rows, strict=True))
    return a, b, min(c, 2**64 - 1), d


ENTRY = shapes.row(
    shapes.binary(), shapes.number(0, 6), shapes.mode, shapes.u31, shapes.size, shapes.integer, shapes.integer,
    shapes.whole, shapes.u32, shapes.u31, shapes.anything, shapes.index_or_none, shapes.or_nil(shapes.mapping),
)  # fmt: skip
OWNER = shapes.row(shapes.owner_id, shapes.owner_id, shapes.text, shapes.text, exactly=True)
LEAF = shapes.row(
    shapes.array(shapes.ident), shapes.array(shapes.anything), shapes.array(shapes.anything),
    shapes.array(shapes.anything, at_least=1), exactly=True,
)  # fmt: skip
CHILD = shapes.row(shapes.binary(), shapes.extent, shapes.totals)
INDEX = shapes.row(shapes.array(shapes.ident), shapes.array(CHILD, at_least=1), exactly=True)
BELOW = shapes.row(shapes.level, shapes.extent, shapes.totals, exactly=True)
DEVICE = shapes.row(shapes.u32, shapes.u32, exactly=True)
PIECE = shapes.row(
    shapes.size, shapes.offset, shapes.stored, shapes.offset, shapes.number(1, 2**63 - 1), shapes.ident
)
HOLE = shapes.row(shapes.number(1, 2**63 - 1), exactly=True)
PAGED = shapes.record(l=shapes.level, a=shapes.extent, n=shapes.size, d=shapes.ident)
PIECE_LEAF = shapes.row(shapes.array(shapes.ident), shapes.array(shapes.anything, at_least=1), exactly=True)
PIECE_CHILD = shapes.row(shapes.extent, shapes.length)
PIECE_INDEX = shapes.row(shapes.array(shapes.ident), shapes.array(PIECE_CHILD, at_least=1), exactly=True)
STREAM = shapes.row(shapes.binary(), shapes.size, shapes.anything)
SET_INDEX = (shapes.or_nil(shapes.u31), None)
WINDOWS = shapes.record(
    attributes=shapes.u32, created=(shapes.or_nil(shapes.integer), None), security=SET_INDEX,
    streams=(shapes.array(STREAM), []), reparse=SET_INDEX, extended=SET_INDEX, short=(shapes.binary(), b""),
    efs=(shapes.or_nil(shapes.size), None),
)  # fmt: skip


class Page:
    """What the rows of a page refer to: its tables, and its own place."""

    def __init__(self, here: Extent, packs: list[bytes], owners: list[Any], sets: list[Any]) -> None:
        self.here, self.packs, self.owners, self.sets = here, packs, owners, sets

    def extent(self, row: tuple[Any, ...]) -> Extent:
        pack, offset, stored, inner, length, chunk = row
        if pack >= len(self.packs):
            raise Damaged("a pack outside the page's table")
        if stored == 0:
            if (self.packs[pack], offset) != (self.here.pack, self.here.offset):
                raise Damaged("an extent without a stored length that is not in the block of its page")
            stored = self.here.stored
        return Extent(self.packs[pack], offset, stored, inner, length, chunk)

    def piece(self, row: Any) -> Piece:
        if len(shapes.sequence(row)) == 1:
            return Piece(None, HOLE(row)[0])
        read = PIECE(row)
        return Piece(self.extent(read), read[4])

    def pieces(self, content: Any, size: int) -> Pieces:
        if type(content) is dict:
            read = PAGED(content)
            return Paged(read["l"], self.extent(read["a"]), read["n"], read["d"])
        pieces = [self.piece(row) for row in shapes.sequence(content)]
        if sum(piece.length for piece in pieces) != size:
            raise Damaged("pieces of another length than their file")
        return pieces

    def set(self, number: int) -> list[tuple[bytes, Value]]:
        if number >= len(self.sets):
            raise Damaged("a set outside the page's table")
        result: list[tuple[bytes, Value]] = []
        for attribute in shapes.array(shapes.sequence, at_least=1)(self.sets[number]):
            name, value = shapes.row(shapes.binary(), shapes.anything, exactly=True)(attribute)
            if not name or b"\0" in name or (result and result[-1][0] >= name):
                raise Damaged("the names of xattrs")
            result.append((name, value if type(value) is bytes else self.extent(shapes.extent(value))))
        return result

    def windows(self, more: dict[str, Any]) -> Windows:
        read = WINDOWS(more)
        values: dict[str, Value | None] = {}
        for name in ("security", "reparse", "extended"):
            found = None if read[name] is None else self.set(read[name])
            if found is not None and [row[0] for row in found] != [name.encode("ascii")]:
                raise Damaged(f"a set of Windows that is not one of {name}")
            values[name] = found[0][1] if found is not None else None
        streams: list[Stream] = []
        for name, size, content in read["streams"]:
            units = len(as_utf16(name)) // 2
            if not 1 <= units <= 255 or any(c in name for c in b"/\\:\0") or (streams and streams[-1].name >= name):
                raise Damaged("the names of streams")
            streams.append(Stream(name, size, self.pieces(content, size)))
        as_utf16(read["short"])
        return Windows(
            read["attributes"], read["created"], values["security"], streams, values["reparse"],
            values["extended"], read["short"], read["efs"],
        )  # fmt: skip

    def entry(self, row: list[Any]) -> Entry:
        name, kind, mode, owner, size, mtime, ctime, inode, nlink, link, content, xattrs, more = ENTRY(row)
        if owner >= len(self.owners):
            raise Damaged("an owner outside the page's table")
        entry = Entry(name, kind, mode, OWNER(self.owners[owner]), size, mtime, ctime, inode, nlink, link)
        if kind == FILE:
            entry.pieces = self.pieces(content, size)
        elif kind == FOLDER:
            if content is not None:
                level, at, totals = BELOW(content)
                entry.below = Subtree(level, self.extent(at), totals)
        elif kind == SYMLINK:
            entry.target = shapes.binary()(content)
            if b"\0" in entry.target:
                raise Damaged("a target with a NUL")
        elif kind in (CHARACTER, BLOCK):
            entry.device = DEVICE(content)
        elif content is not None:
            raise Damaged("a FIFO or socket with a content")
        if xattrs >= 0:
            entry.xattrs = self.set(xattrs)
        entry.more = more
        if more is not None:
            for key in more:
                shapes.text(key)
            if "attributes" in more:
                entry.windows = self.windows(more)
        return entry


def as_utf16(name: bytes) -> bytes:
    try:
        return name.decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass")
    except UnicodeError as error:
        raise Damaged("a name of Windows that is not Unicode") from error


def leaf(data: bytes, here: Extent) -> list[Entry]:
    packs, owners, sets, rows = LEAF(shapes.unpack(data))
    for owner in owners:
        if type(owner) is list and len(owner) != 4:
            raise Damaged("an owner that is not of four elements")
    for attributes in sets:
        for attribute in attributes if type(attributes) is list else []:
            if type(attribute) is list and len(attribute) != 2:
                raise Damaged("an xattr that is not of two elements")
    page = Page(here, packs, owners, sets)
    entries: list[Entry] = []
    for row in rows:
        if not shapes.sequence(row):
            raise Damaged("an entry without a name")
        name = shapes.binary()(row[0])
        if not 1 <= len(name) <= 1024 or name in (b".", b"..") or b"/" in name or b"\0" in name:
            raise Damaged("an entry of another name")
        if entries and entries[-1].name >= name:
            raise Damaged("names that do not ascend")
        try:
            entries.append(page.entry(row))
        except Damaged as damage:
            entries.append(Entry(name, damage=damage))
    return entries


def entries_of(fetch: Fetch, below: Subtree) -> Iterator[Entry]:
    """The entries of a folder, in order. Totals that are None are not compared."""
    if below.level > 8:
        raise Damaged(f"a page of level {below.level}")
    last = b""
    for entry in _entries(fetch, below.level, below.at, below.totals, b""):
        if entry.name <= last:
            raise Damaged("names that do not ascend from page to page")
        last = entry.name
        yield entry


def _entries(fetch: Fetch, level: int, at: Extent, totals: Totals | None, first: bytes) -> Iterator[Entry]:
    data = fetch(at)
    if level == 0:
        entries = leaf(data, at)
        if first and entries[0].name != first:
            raise Damaged("a page that does not begin with the name that its parent gives")
        whole = totals is not None and not any(entry.damage for entry in entries)
        if whole and add([entry.totals for entry in entries]) != totals:
            raise Damaged("a page with other totals than its parent gives")
        yield from entries
        return
    packs, children = INDEX(shapes.unpack(data))
    page = Page(at, packs, [], [])
    names = [child[0] for child in children]
    if any(a >= b for a, b in itertools.pairwise(names)):
        raise Damaged("first names that do not ascend")
    if (first and names[0] != first) or totals not in (None, add([child[2] for child in children])):
        raise Damaged("an index page that is not as its parent says")
    for name, child, sums in children:
        yield from _entries(fetch, level - 1, page.extent(child), sums, name)


def pieces_of(fetch: Fetch, pieces: Pieces, size: int) -> Iterator[Piece]:
    """The pieces of a file or stream, in order. What they say together is checked at their end."""
    if isinstance(pieces, list):
        yield from pieces
        return
    stored, hole = 0, 0
    digest = blake3.blake3()
    for piece in _pieces(fetch, pieces.level, pieces.at, size):
        if piece.chunk is None:
            hole += piece.length
        else:
            digest.update(hole.to_bytes(8, "big") + bytes(16) if hole else b"")
            digest.update(piece.length.to_bytes(8, "big") + piece.chunk.id)
            hole = 0
            stored += piece.length
        yield piece
    digest.update(hole.to_bytes(8, "big") + bytes(16) if hole else b"")
    if stored != pieces.stored or digest.digest(length=16) != pieces.digest:
        raise Damaged("pieces that are not those of the file")


def _pieces(fetch: Fetch, level: int, at: Extent, covers: int) -> Iterator[Piece]:
    data = fetch(at)
    if level == 0:
        packs, rows = PIECE_LEAF(shapes.unpack(data))
        page = Page(at, packs, [], [])
        pieces = [page.piece(row) for row in rows]
        if sum(piece.length for piece in pieces) != covers:
            raise Damaged("a page of pieces that covers something else than its parent says")
        yield from pieces
        return
    packs, children = PIECE_INDEX(shapes.unpack(data))
    page = Page(at, packs, [], [])
    if sum(child[1] for child in children) != covers:
        raise Damaged("a page of pieces that covers something else than its parent says")
    for child, below in children:
        yield from _pieces(fetch, level - 1, page.extent(child), below)


def walk(fetch: Fetch, top: Subtree) -> Iterator[tuple[bytes, int, Entry]]:
    """Path, number and entry of all that is in a tree. Errors of a folder's pages end it."""
    yield from _walk(fetch, top, b"", 1)


def _walk(fetch: Fetch, folder: Subtree, above: bytes, number: int) -> Iterator[tuple[bytes, int, Entry]]:
    number += 1
    for entry in entries_of(fetch, folder):
        if number > 2**32 - 1:
            raise Damaged("a tree of too many entries")
        path = above + entry.name
        yield path, number, entry
        if entry.below is not None:
            yield from _walk(fetch, entry.below, path + b"/", number)
        number += entry.totals[0]
