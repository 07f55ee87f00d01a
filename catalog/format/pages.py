"""Tree pages: directories and long extent lists as B+trees of pages. docs/format.md, "Trees".

A page is a chunk of a tree block. Leaves of a directory hold entries sorted by name; index pages above hold
the first name and the totals of each page below. Long extent lists have leaves of pieces, and index pages
with the bytes that each page below covers. Whoever refers to a page knows its level, so pages don't say it.

Pages of one tree block refer to each other, and a block's stored length is known only once it is sealed: an
extent with a stored length of 0 lies in the same block as the page that it stands in (its "home").

Repeated parts (pack ids, owners, sets of extended attributes) stand once in tables of the page. `Entry` is an
entry as it is on the wire, with indexes into its page's tables; `Node` is the same entry free of any page.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from operator import ge
from typing import Annotated, Any, NamedTuple, TypeAlias

import msgspec

from catalog.errors import Damaged
from catalog.format.keys import ID_BYTES
from catalog.format.message import Id, Length, Level, TotalsRow, Whole, decode
from catalog.format.packs import Extent
from catalog.format.windows import Windows, decode_windows, encode_windows, others, windows_bound

PAGE_MAX = 64 << 10  # bytes; a page is cut before the entry that would exceed it
TREE_BLOCK_RAW = 256 << 10  # bytes of pages that go into one tree block
INLINE_PIECES = 32  # a file of more has its pieces in pages of their own
INLINE_XATTR = 4 << 10  # bytes; a larger value stands out of line
PIECES_MAX = 1024  # in one page
_NO_NAMES = frozenset((b"", b".", b".."))
_NOT_EMPTY = msgspec.Meta(min_length=1)


class NodeKind(IntEnum):
    FILE = 0
    FOLDER = 1
    SYMLINK = 2
    FIFO = 3
    CHAR_DEVICE = 4
    BLOCK_DEVICE = 5
    SOCKET = 6


class Hole(NamedTuple):
    """A run of zeros that takes no room, `length` bytes."""

    length: int


Piece: TypeAlias = Extent | Hole


class Paged(NamedTuple):
    """Pieces of a file in pages of their own. `allocated` is the bytes that are not holes."""

    level: int
    at: Extent
    allocated: int
    digest: bytes


class Totals(NamedTuple):
    """What is below a folder: all entries, those that are files, their bytes, those with xattrs."""

    entries: int = 0
    files: int = 0
    bytes: int = 0
    xattrs: int = 0

    def plus(self, other: Totals) -> Totals:
        return Totals(
            self.entries + other.entries,
            self.files + other.files,
            self.bytes + other.bytes,
            self.xattrs + other.xattrs,
        )


class Subtree(NamedTuple):
    """The pages of a folder that is not empty: its top page, the level of that, and the totals below."""

    level: int
    at: Extent
    totals: Totals


class Owner(NamedTuple):
    """Ids and names; a name is empty where the system had none."""

    uid: int
    gid: int
    user: str = ""
    group: str = ""


class OutOfLine(NamedTuple):
    """A value of an extended attribute that stands as a chunk of its own in a tree block."""

    at: Extent


Xattrs: TypeAlias = dict[bytes, bytes | OutOfLine]
Content: TypeAlias = list[Piece] | Paged | Subtree | bytes | tuple[int, int] | None


class Node(msgspec.Struct, gc=False):
    """One entry of a folder. Times in ns since the epoch (UTC); `mode` without the type's bits.

    `content` is by kind: a file's pieces (or where they are), a folder's Subtree (None: empty), a symlink's
    target, a device's (major, minor). `inode` is the source's; `link` numbers a file of several links, the
    same for each of them in an item, and is 0 for others. `windows` is what Windows knows, `more` is for what yet
    other systems know, or later versions.
    """

    name: bytes
    kind: int
    mode: int
    owner: Owner
    size: int
    mtime: int
    ctime: int
    inode: int
    nlink: int = 1
    link: int = 0
    content: Content = None
    xattrs: Xattrs | None = None
    more: dict[str, Any] | None = None
    windows: Windows | None = None

    def totals(self) -> Totals:
        """What this entry adds to the totals of its folder."""
        below = self.content.totals if isinstance(self.content, Subtree) else Totals()
        return own_totals(self.kind, self.size, bool(self.xattrs)).plus(below)


def own_totals(kind: int, size: int, xattrs: bool) -> Totals:
    """What an entry adds to its folder's totals, without what is below it."""
    is_file = kind == NodeKind.FILE
    return Totals(1, int(is_file), size if is_file else 0, int(xattrs))


class Entry(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """An entry on the wire. `owner` and `xattrs` index the page's tables (-1: none)."""

    name: bytes
    kind: int
    mode: int
    owner: int
    size: int
    mtime: int
    ctime: int
    inode: int
    nlink: int
    link: int
    content: Any
    xattrs: int
    more: dict[str, Any] | None


class ExtentRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """An extent on the wire. `pack` indexes the page's table of pack ids."""

    pack: Whole
    offset: Whole
    stored: Whole
    inner: Whole
    length: Length
    id: Id


class PieceRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A piece on the wire: as ExtentRow, or the length of a hole alone, which then stands in `pack`."""

    pack: Whole
    offset: Whole = 0
    stored: Whole = 0
    inner: Whole = 0
    length: Whole = 0
    id: bytes = b""


class _PagedRow(msgspec.Struct, gc=False, frozen=True):
    level: Level = msgspec.field(name="l")
    at: ExtentRow = msgspec.field(name="a")
    allocated: Whole = msgspec.field(name="n")
    digest: Id = msgspec.field(name="d")


# msgspec learns a class once, but takes a type like `tuple[Level, ExtentRow]` apart at every conversion, in 7 us
# instead of 0.4: such types stand in classes of one field.


class _SubtreeRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    row: tuple[Level, ExtentRow, TotalsRow]


class _Pieces(msgspec.Struct, array_like=True, gc=False, frozen=True):
    row: list[PieceRow]


class _Device(msgspec.Struct, array_like=True, gc=False, frozen=True):
    row: tuple[Whole, Whole]


class Leaf(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A page of a directory's entries, sorted by name (as bytes), with its tables. `home` is not on the wire."""

    packs: list[bytes]
    owners: list[tuple[int, int, str, str]]
    sets: list[list[tuple[bytes, Any]]]
    entries: list[Entry]
    home: Extent | None = None

    def owner(self, entry: Entry) -> Owner:
        return Owner(*self._at(self.owners, entry.owner))

    def subtree(self, entry: Entry) -> Subtree | None:
        """Of a folder's entry; None if the folder is empty."""
        if entry.content is None:
            return None
        level, at, totals = _convert((entry.content,), _SubtreeRow, entry.name).row
        return Subtree(level, _extent(self, at), Totals(*totals))

    def entry_totals(self, entry: Entry) -> Totals:
        own = own_totals(entry.kind, entry.size, entry.xattrs >= 0)
        if entry.kind != NodeKind.FOLDER or entry.content is None:
            return own
        return own.plus(Totals(*_convert((entry.content,), _SubtreeRow, entry.name).row[2]))

    def entries_in(self, entry: Entry) -> int:
        """The entry itself and all that is below it."""
        if entry.kind != NodeKind.FOLDER or entry.content is None:
            return 1
        row: _SubtreeRow = _convert((entry.content,), _SubtreeRow, entry.name)
        return 1 + row.row[2][0]

    def pieces(self, entry: Entry) -> list[Piece] | Paged:
        """Of a file's entry. An empty file has no pieces."""
        return self.content(entry.content, entry.name)

    def content(self, value: Any, name: bytes) -> list[Piece] | Paged:
        """The pieces of a file, or of a stream of it, as they stand in the entry of that name."""
        if isinstance(value, dict):
            paged: _PagedRow = _convert(value, _PagedRow, name)
            return Paged(paged.level, _extent(self, paged.at), paged.allocated, paged.digest)
        return _pieces(self, _convert((value,), _Pieces, name).row)

    def xattrs(self, entry: Entry) -> Xattrs | None:
        return self.xattr_set(entry.xattrs, entry.name) if entry.xattrs >= 0 else None

    def xattr_set(self, index: int, name: bytes) -> Xattrs:
        """A set of the page's table, for the entry of that name."""
        try:
            return {
                key: value if isinstance(value, bytes) else OutOfLine(_extent(self, _extent_row(value)))
                for key, value in self._at(self.sets, index)
            }
        except msgspec.ValidationError as e:
            raise _garbled(name) from e

    def windows(self, entry: Entry) -> Windows | None:
        """What Windows knows of an entry; None if another system made it."""
        return decode_windows(self, entry)

    def contents(self, entry: Entry) -> list[list[Piece] | Paged]:
        """The contents of an entry: a file's own, and those of its streams. Whoever looks for all data of a tree
        (what is used, what is missing) needs them all."""
        own = [self.pieces(entry)] if entry.kind == NodeKind.FILE else []
        windows = self.windows(entry)
        return own + [s.content for s in windows.streams] if windows is not None else own

    def node(self, entry: Entry) -> Node:
        """The entry, free of this page."""
        e = entry
        content: Content
        if e.kind == NodeKind.FILE:
            content = self.pieces(e)
        elif e.kind == NodeKind.FOLDER:
            content = self.subtree(e)
        elif e.kind in (NodeKind.CHAR_DEVICE, NodeKind.BLOCK_DEVICE):
            content = _convert((e.content,), _Device, e.name).row
        elif e.kind == NodeKind.SYMLINK:
            content = _convert(e.content, bytes, e.name)
        else:
            content = None
        return Node(
            e.name, e.kind, e.mode, self.owner(e), e.size, e.mtime, e.ctime, e.inode, e.nlink, e.link,
            content, self.xattrs(e), others(e.more), self.windows(e),
        )  # fmt: skip

    def _at(self, table: Sequence[Any], index: int) -> Any:
        if not 0 <= index < len(table):
            raise Damaged("a folder's page refers to a table row that it doesn't have")
        return table[index]


class FolderChild(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A page below an index page: the first name in it, where it is, and the totals of its entries."""

    first: bytes
    at: ExtentRow
    totals: TotalsRow


class FolderIndex(msgspec.Struct, array_like=True, gc=False, frozen=True):
    packs: list[bytes]
    children: list[FolderChild]
    home: Extent | None = None

    def at(self, child: FolderChild) -> Extent:
        return _extent(self, child.at)


class PieceLeaf(msgspec.Struct, array_like=True, gc=False, frozen=True):
    packs: list[bytes]
    rows: list[PieceRow]
    home: Extent | None = None

    def pieces(self) -> list[Piece]:
        return _pieces(self, self.rows)


class PieceChild(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A page below: where it is, and the bytes of the file that it covers, holes included."""

    at: ExtentRow
    covers: Length


class PieceIndex(msgspec.Struct, array_like=True, gc=False, frozen=True):
    packs: list[bytes]
    children: list[PieceChild]
    home: Extent | None = None

    def at(self, child: PieceChild) -> Extent:
        return _extent(self, child.at)


_Page: TypeAlias = Leaf | FolderIndex | PieceLeaf | PieceIndex


def _garbled(name: bytes) -> Damaged:
    return Damaged(f"the entry of {name.decode(errors='replace')!r} can't be understood")


def _convert(value: Any, what: Any, name: bytes) -> Any:
    try:
        return msgspec.convert(value, what)
    except msgspec.ValidationError as e:
        raise _garbled(name) from e


def _extent_row(value: Any) -> ExtentRow:
    return msgspec.convert(value, ExtentRow)


def _extent(page: _Page, row: ExtentRow | PieceRow) -> Extent:
    if row.pack >= len(page.packs):
        raise Damaged("a page refers to a pack that its table doesn't list")
    pack, stored = page.packs[row.pack], row.stored
    if stored == 0:
        home = page.home
        if home is None or (home.pack, home.offset) != (pack, row.offset):
            raise Damaged("a page refers to a place without saying how long it is")
        stored = home.stored
    return Extent(pack, row.offset, stored, row.inner, row.length, row.id)


def _pieces(page: _Page, rows: list[PieceRow]) -> list[Piece]:
    return [_piece(page, row) for row in rows]


def _piece(page: _Page, row: PieceRow) -> Piece:
    if len(row.id) == ID_BYTES and row.length:
        return _extent(page, row)
    if row.pack and not (row.offset or row.stored or row.inner or row.length or row.id):
        return Hole(row.pack)
    raise Damaged("a file's piece is neither an extent nor a hole")


_encoder = msgspec.msgpack.Encoder()
_leaf = msgspec.msgpack.Decoder(
    tuple[
        list[Id],
        list[tuple[int, int, str, str]],
        list[list[tuple[bytes, Any]]],
        Annotated[list[Entry], _NOT_EMPTY],
    ]
)
_folder_index = msgspec.msgpack.Decoder(tuple[list[Id], Annotated[list[FolderChild], _NOT_EMPTY]])
_piece_leaf = msgspec.msgpack.Decoder(tuple[list[Id], Annotated[list[PieceRow], _NOT_EMPTY]])
_piece_index = msgspec.msgpack.Decoder(tuple[list[Id], Annotated[list[PieceChild], _NOT_EMPTY]])
# What is converted later on, by many threads: msgspec learns these classes here, where there is but one.
msgspec.msgpack.Decoder(tuple[ExtentRow, _PagedRow, _SubtreeRow, _Pieces, _Device])


def _check_names(names: list[bytes]) -> None:
    joined = b"\0".join(names)
    if b"/" in joined or joined.count(b"\0") != len(names) - 1 or not _NO_NAMES.isdisjoint(names):
        raise Damaged("a page of a folder holds names that no file can have")
    if any(map(ge, names, names[1:])):
        raise Damaged("a page of a folder holds names out of order")


def decode_leaf(data: bytes | bytearray | memoryview, home: Extent) -> Leaf:
    """A page of entries from its bytes and its own extent. Damaged."""
    packs, owners, sets, entries = decode(_leaf, data, "a page of a folder")
    _check_names([e.name for e in entries])
    return Leaf(packs, owners, sets, entries, home)


def decode_folder_index(data: bytes | bytearray | memoryview, home: Extent) -> FolderIndex:
    packs, children = decode(_folder_index, data, "a page of a folder")
    _check_names([c.first for c in children])
    return FolderIndex(packs, children, home)


def decode_piece_leaf(data: bytes | bytearray | memoryview, home: Extent) -> PieceLeaf:
    packs, rows = decode(_piece_leaf, data, "a page of a file's pieces")
    return PieceLeaf(packs, rows, home)


def decode_piece_index(data: bytes | bytearray | memoryview, home: Extent) -> PieceIndex:
    packs, children = decode(_piece_index, data, "a page of a file's pieces")
    return PieceIndex(packs, children, home)


# --- writing ----------------------------------------------------------------------------------------------


Resolve: TypeAlias = Callable[[Extent], Extent]  # fills in the stored length, of all but the block being filled


def _as_it_is(e: Extent) -> Extent:
    return e


class Tables:
    """Tables of a page being made."""

    def __init__(self, resolve: Resolve) -> None:
        self.resolve = resolve
        self.packs: dict[bytes, int] = {}
        self.owners: dict[Owner, int] = {}
        self.sets: dict[bytes, int] = {}
        self.set_rows: list[list[list[Any]]] = []

    def extent(self, e: Extent) -> list[Any]:
        if e.stored == 0:
            e = self.resolve(e)
        number = self.packs.setdefault(e.pack, len(self.packs))
        return [number, e.offset, e.stored, e.inner, e.length, e.id]

    def piece(self, p: Piece) -> list[Any]:
        return [p.length] if isinstance(p, Hole) else self.extent(p)

    def xattrs(self, xattrs: Xattrs | None) -> int:
        if not xattrs:
            return -1
        rows: list[list[Any]] = [
            [name, value if isinstance(value, bytes) else self.extent(value.at)]
            for name, value in sorted(xattrs.items())
        ]
        key = _encoder.encode(rows)
        if key not in self.sets:
            self.sets[key] = len(self.sets)
            self.set_rows.append(rows)
        return self.sets[key]

    def content(self, content: Content) -> Any:
        if isinstance(content, Paged):
            c = content
            return {"l": c.level, "a": self.extent(c.at), "n": c.allocated, "d": c.digest}
        if isinstance(content, Subtree):
            return [content.level, self.extent(content.at), content.totals]
        if isinstance(content, list):
            return [self.piece(p) for p in content]
        return content

    def entry(self, n: Node) -> Entry:
        owner = self.owners.setdefault(n.owner, len(self.owners))
        return Entry(
            n.name, n.kind, n.mode, owner, n.size, n.mtime, n.ctime, n.inode, n.nlink, n.link,
            self.content(n.content), self.xattrs(n.xattrs),
            n.more if n.windows is None else encode_windows(self, n.windows, n.more),
        )  # fmt: skip


def begins_page(name: bytes, level: int) -> bool:
    """Whether a name begins a page of this level (0: leaves): one in 128 does, by its CRC-32 alone."""
    return (zlib.crc32(name) >> (7 * level)) & 127 == 0


def ends_page(chunk_id: bytes, level: int) -> bool:
    """Whether a piece ends a page of pieces of this level: one in 256, by its chunk id alone."""
    return chunk_id[level] == 0


WritePage: TypeAlias = Callable[[bytes], Extent]  # stores a page (or finds an equal one) and says where it is


class FolderWriter:
    """Writes the pages of one folder as its nodes come, sorted by name, without equals."""

    def __init__(self, write: WritePage, resolve: Resolve = _as_it_is) -> None:
        self._write, self._resolve = write, resolve
        self._rows: list[tuple[bytes, Extent, Totals]] = []
        self._begin_page()

    def _begin_page(self) -> None:
        self._nodes: list[Node] = []
        self._size, self._totals = 0, Totals()

    def add(self, node: Node) -> None:
        """The next node; names must ascend as bytes."""
        size = _bound(node)
        if self._nodes and (self._size + size > PAGE_MAX or begins_page(node.name, 0)):
            self._flush()
        self._nodes.append(node)
        self._size += size
        self._totals = self._totals.plus(node.totals())

    def _flush(self) -> None:
        # Encoded only now: which extents lie in the block being filled may have changed since they were added.
        t = Tables(self._resolve)
        entries = [t.entry(node) for node in self._nodes]
        page = _encoder.encode((list(t.packs), list(t.owners), t.set_rows, entries))
        self._rows.append((self._nodes[0].name, self._write(page), self._totals))
        self._begin_page()

    def finish(self) -> Subtree | None:
        """Write what is left, and the pages above. None for an empty folder."""
        if self._nodes:
            self._flush()
        return _folder_levels(self._rows, self._write, self._resolve) if self._rows else None

    def so_far(self, more: Iterable[Node]) -> Subtree | None:
        """The folder as if it ended after the nodes so far and `more`; the writer itself goes on as before."""
        copy = FolderWriter(self._write, self._resolve)
        copy._rows = list(self._rows)
        for node in self._nodes:
            copy.add(node)
        for node in more:
            copy.add(node)
        return copy.finish()


def write_folder(nodes: Iterable[Node], write: WritePage, resolve: Resolve = _as_it_is) -> Subtree | None:
    """Write a folder's pages. `nodes` come sorted by name, without equals. None if there are none."""
    writer = FolderWriter(write, resolve)
    for node in nodes:
        writer.add(node)
    return writer.finish()


def _bound(node: Node) -> int:
    """At least the bytes that a node takes in a page, its part of the tables included."""
    pieces = len(node.content) if isinstance(node.content, list) else 2
    inline = sum(len(k) + (len(v) if isinstance(v, bytes) else 70) for k, v in (node.xattrs or {}).items())
    target = len(node.content) if isinstance(node.content, bytes) else 0
    names = len(node.owner.user) + len(node.owner.group)
    more = len(_encoder.encode(node.more)) if node.more else 0
    more += windows_bound(node.windows) if node.windows is not None else 0
    return 76 + len(node.name) + 66 * pieces + inline + target + names + more


def _folder_levels(rows: list[tuple[bytes, Extent, Totals]], write: WritePage, resolve: Resolve) -> Subtree:
    level = 0
    while len(rows) > 1:
        level += 1
        above: list[tuple[bytes, Extent, Totals]] = []
        for group in _groups(rows, lambda row, level=level: begins_page(row[0], level)):  # type: ignore[misc]
            tables = Tables(resolve)
            children = [(first, tables.extent(at), totals) for first, at, totals in group]
            page = _encoder.encode((list(tables.packs), children))
            totals = Totals()
            for _first, _at, below in group:
                totals = totals.plus(below)
            above.append((group[0][0], write(page), totals))
        rows = above
    _name, at, totals = rows[0]
    return Subtree(level, at, totals)


def _groups(rows: list[Any], begins: Callable[[Any], bool]) -> Iterable[list[Any]]:
    """Runs of rows that stand in one index page: two (so that levels end) to 512 rows, 64 KiB."""
    group: list[Any] = []
    size = 0
    for row in rows:
        if (len(group) >= 2 and begins(row)) or len(group) >= 512 or size > PAGE_MAX - 512:
            yield group
            group, size = [], 0
        group.append(row)
        size += 80 + (len(row[0]) if isinstance(row[0], bytes) else 0)
    yield group


class PieceWriter:
    """Writes the pieces of one file: kept in the entry up to 32, in pages beyond. Memory stays small."""

    def __init__(self, write: WritePage, resolve: Resolve = _as_it_is) -> None:
        self._write, self._resolve = write, resolve
        self._pieces: list[Piece] = []
        self._rows: list[tuple[bytes, Extent, int]] = []  # (last chunk id, page, bytes covered)

    def add(self, piece: Piece) -> None:
        """The next piece. Neighbouring holes become one."""
        last = self._pieces[-1] if self._pieces else None
        if isinstance(piece, Hole) and isinstance(last, Hole):
            self._pieces[-1] = Hole(last.length + piece.length)
        else:
            self._pieces.append(piece)
        if len(self._pieces) >= PIECES_MAX + INLINE_PIECES:
            self._flush(everything=False)

    def _flush(self, everything: bool) -> None:
        page: list[Piece] = []
        for piece in self._pieces:
            page.append(piece)
            ends = isinstance(piece, Extent) and ends_page(piece.id, 0)
            if ends or len(page) >= PIECES_MAX:
                self._page(page)
                page = []
        if everything and page:
            self._page(page)
            page = []
        self._pieces = page

    def _page(self, page: list[Piece]) -> None:
        tables = Tables(self._resolve)
        rows = [tables.piece(p) for p in page]
        at = self._write(_encoder.encode((list(tables.packs), rows)))
        last = page[-1]
        key = last.id if isinstance(last, Extent) else b"\xff" * 16
        self._rows.append((key, at, sum(p.length for p in page)))

    def finish(self, digest: bytes, allocated: int) -> list[Piece] | Paged:
        """What stands in the file's entry. `digest` and `allocated` (bytes) as in Paged."""
        if not self._rows and len(self._pieces) <= INLINE_PIECES:
            return self._pieces
        self._flush(everything=True)
        rows, level = self._rows, 0
        while len(rows) > 1:
            level += 1
            above: list[tuple[bytes, Extent, int]] = []
            group: list[tuple[bytes, Extent, int]] = []
            for n, row in enumerate(rows):
                group.append(row)
                full = (len(group) >= 2 and ends_page(row[0], level)) or len(group) >= 512
                if full or n == len(rows) - 1:
                    tables = Tables(self._resolve)
                    children = [(tables.extent(at), covers) for _id, at, covers in group]
                    page = self._write(_encoder.encode((list(tables.packs), children)))
                    above.append((row[0], page, sum(covers for _id, _at, covers in group)))
                    group = []
            rows = above
        return Paged(level, rows[0][1], allocated, digest)
