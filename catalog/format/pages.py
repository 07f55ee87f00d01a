"""Tree pages: directories and long extent lists as B+trees of pages. docs/format.md, "Trees".

A page is a chunk of a tree block. Leaves of a directory hold entries sorted by name; index pages above hold
the first name and the totals of each page below. Long extent lists have leaves of pieces, and index pages
with the bytes that each page below covers. A page does not say its level: every reference to a page does.

Pages of one tree block refer to each other, and a block's stored length is known only once it is sealed. So an
extent with a stored length of 0 is in the same block as the page that contains it (its "home").

Repeated parts (pack ids, owners, sets of extended attributes) are stored once in tables of the page. `Entry` is an
entry on the wire, with indexes into its page's tables; `Node` is the same entry, independent of any page.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import ge
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar

import msgspec

from catalog.errors import Damaged
from catalog.format.keys import ID_BYTES
from catalog.format.message import Id, Length, Level, Whole, decode
from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.values import Content, Hole, NodeKind, OutOfLine, Owner, Paged, Piece, Subtree, Totals, Xattrs
from catalog.format.windows import Windows, decode_windows, others

_NO_NAMES = frozenset((b"", b".", b".."))
_NOT_EMPTY = msgspec.Meta(min_length=1)
_T = TypeVar("_T")


class Entry(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """An entry on the wire. `owner` and `xattrs` are indexes into the page's tables (-1: no xattrs)."""

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
    """An extent on the wire. `pack` is an index into the page's table of pack ids."""

    pack: Whole
    offset: Whole
    stored: Whole
    inner: Whole
    length: Length
    id: Id


class PieceRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A piece on the wire: as ExtentRow; or a hole, with its length in `pack` and nothing else."""

    pack: Whole
    offset: Whole = 0
    stored: Whole = 0
    inner: Whole = 0
    length: Whole = 0
    id: bytes = b""


class PagedRow(msgspec.Struct, gc=False, frozen=True):
    """Paged on the wire."""

    level: Level = msgspec.field(name="l")
    at: ExtentRow = msgspec.field(name="a")
    allocated: Whole = msgspec.field(name="n")
    digest: Id = msgspec.field(name="d")


class _SubtreeRow(NamedTuple):
    level: Level
    at: ExtentRow
    totals: Totals


# msgspec analyses a class once, but a type like `list[PieceRow]` at every conversion, in 7 us instead of
# 0.4: such types are wrapped in classes of one field.


class _SubtreeCell(msgspec.Struct, array_like=True, gc=False, frozen=True):
    value: _SubtreeRow


class _PiecesCell(msgspec.Struct, array_like=True, gc=False, frozen=True):
    value: list[PieceRow]


class _DeviceCell(msgspec.Struct, array_like=True, gc=False, frozen=True):
    value: tuple[Whole, Whole]


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
        """The pages of a folder's entry; None if the folder is empty."""
        if entry.content is None:
            return None
        row = _convert((entry.content,), _SubtreeCell, entry.name).value
        return Subtree(row.level, _extent(self, row.at), row.totals)

    def entries_in(self, entry: Entry) -> int:
        """The number of entries in an entry: itself and all below it."""
        if entry.kind != NodeKind.FOLDER or entry.content is None:
            return 1
        return 1 + _convert((entry.content,), _SubtreeCell, entry.name).value.totals.entries

    def pieces(self, entry: Entry) -> list[Piece] | Paged:
        """The pieces of a file's entry. An empty file has none."""
        return self.content(entry.content, entry.name)

    def content(self, value: Any, name: bytes) -> list[Piece] | Paged:
        """The pieces of a file or of one of its streams, from the wire. `name` is the entry's, for errors."""
        if isinstance(value, dict):
            paged = _convert(value, PagedRow, name)
            return Paged(paged.level, _extent(self, paged.at), paged.allocated, paged.digest)
        return _pieces(self, _convert((value,), _PiecesCell, name).value)

    def xattrs(self, entry: Entry) -> Xattrs | None:
        return self.xattr_set(entry.xattrs, entry.name) if entry.xattrs >= 0 else None

    def xattr_set(self, index: int, name: bytes) -> Xattrs:
        """A set of the page's table. `name` is the entry's, for errors."""
        try:
            return {key: self._xattr(value) for key, value in self._at(self.sets, index)}
        except msgspec.ValidationError as e:
            raise _garbled(name) from e

    def _xattr(self, value: Any) -> bytes | OutOfLine:
        return value if isinstance(value, bytes) else OutOfLine(_extent(self, msgspec.convert(value, ExtentRow)))

    def windows(self, entry: Entry) -> Windows | None:
        """An entry's Windows metadata; None if it was saved on another system."""
        return decode_windows(self, entry)

    def contents(self, entry: Entry) -> list[list[Piece] | Paged]:
        """All contents of an entry: a file's own and those of its streams."""
        own = [self.pieces(entry)] if entry.kind == NodeKind.FILE else []
        windows = self.windows(entry)
        return own + [s.content for s in windows.streams] if windows is not None else own

    def node(self, entry: Entry) -> Node:
        """The entry, independent of this page."""
        e = entry
        content: Content
        if e.kind == NodeKind.FILE:
            content = self.pieces(e)
        elif e.kind == NodeKind.FOLDER:
            content = self.subtree(e)
        elif e.kind in (NodeKind.CHAR_DEVICE, NodeKind.BLOCK_DEVICE):
            content = _convert((e.content,), _DeviceCell, e.name).value
        elif e.kind == NodeKind.SYMLINK:
            content = _convert(e.content, bytes, e.name)
        else:
            content = None
        return Node(
            e.name, e.kind, e.mode, self.owner(e), e.size, e.mtime, e.ctime, e.inode, e.nlink, e.link,
            content, self.xattrs(e), others(e.more), self.windows(e),
        )  # fmt: skip

    def _at(self, table: Sequence[_T], index: int) -> _T:
        if not 0 <= index < len(table):
            raise Damaged("a page of a folder refers to a row that its table does not have")
        return table[index]


class FolderChild(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A page below an index page: the first name in it, its location, and the totals of its entries."""

    first: bytes
    at: ExtentRow
    totals: Totals


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
    """A page below an index page: its location, and the bytes of the file that it covers, holes included."""

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
    return Damaged(f"the entry of {name.decode(errors='replace')!r} is malformed")


def _convert(value: object, what: type[_T], name: bytes) -> _T:
    try:
        return msgspec.convert(value, what)
    except msgspec.ValidationError as e:
        raise _garbled(name) from e


def _extent(page: _Page, row: ExtentRow | PieceRow) -> Extent:
    if row.pack >= len(page.packs):
        raise Damaged("a page refers to a pack that its table does not list")
    pack, stored = page.packs[row.pack], row.stored
    if stored == 0:
        home = page.home
        if home is None or (home.pack, home.offset) != (pack, row.offset):
            raise Damaged("a page refers to another block without its stored length")
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


leaf_decoder = msgspec.msgpack.Decoder(
    tuple[
        list[Id],
        list[tuple[int, int, str, str]],
        list[list[tuple[bytes, Any]]],
        Annotated[list[Entry], _NOT_EMPTY],
    ]
)
folder_index_decoder = msgspec.msgpack.Decoder(tuple[list[Id], Annotated[list[FolderChild], _NOT_EMPTY]])
piece_leaf_decoder = msgspec.msgpack.Decoder(tuple[list[Id], Annotated[list[PieceRow], _NOT_EMPTY]])
piece_index_decoder = msgspec.msgpack.Decoder(tuple[list[Id], Annotated[list[PieceChild], _NOT_EMPTY]])
# Have msgspec analyse now, in one thread, the classes that many threads convert to later.
msgspec.msgpack.Decoder(tuple[ExtentRow, PagedRow, _SubtreeCell, _PiecesCell, _DeviceCell])


def _check_names(names: list[bytes]) -> None:
    joined = b"\0".join(names)
    if b"/" in joined or joined.count(b"\0") != len(names) - 1 or not _NO_NAMES.isdisjoint(names):
        raise Damaged("a page of a folder holds invalid names")
    if any(map(ge, names, names[1:])):
        raise Damaged("a page of a folder holds names out of order")


def decode_leaf(data: bytes | bytearray | memoryview, home: Extent) -> Leaf:
    """A page of entries, from its bytes and its own extent. Raises Damaged."""
    packs, owners, sets, entries = decode(leaf_decoder, data, "a page of a folder")
    _check_names([e.name for e in entries])
    return Leaf(packs, owners, sets, entries, home)


def decode_folder_index(data: bytes | bytearray | memoryview, home: Extent) -> FolderIndex:
    packs, children = decode(folder_index_decoder, data, "a page of a folder")
    _check_names([c.first for c in children])
    return FolderIndex(packs, children, home)


def decode_piece_leaf(data: bytes | bytearray | memoryview, home: Extent) -> PieceLeaf:
    packs, rows = decode(piece_leaf_decoder, data, "a page of a file's pieces")
    return PieceLeaf(packs, rows, home)


def decode_piece_index(data: bytes | bytearray | memoryview, home: Extent) -> PieceIndex:
    packs, children = decode(piece_index_decoder, data, "a page of a file's pieces")
    return PieceIndex(packs, children, home)
