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
from catalog.format.message import (
    U31,
    U32,
    HomeStored,
    Id,
    Length,
    Level,
    Mode,
    Offset,
    Owned,
    Row,
    Size,
    Whole,
    decode,
)
from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.values import (
    TYPE_BITS,
    Content,
    Hole,
    NodeKind,
    OutOfLine,
    Owner,
    Paged,
    Piece,
    Subtree,
    Totals,
    Xattrs,
)
from catalog.format.windows import Windows, decode_windows, others

_NO_NAMES = frozenset((b"", b".", b".."))
UNREADABLE = -1  # the kind that a malformed entry gets here; the rest of its folder can be shown
_FOLDER = int(NodeKind.FOLDER)
_FOLDERS = (_FOLDER, UNREADABLE)
_NOT_EMPTY = msgspec.Meta(min_length=1)
_T = TypeVar("_T")


class Entry(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """An entry on the wire. `owner` and `xattrs` are indexes into the page's tables (-1: no xattrs)."""

    name: bytes
    kind: int
    mode: Mode
    owner: U31
    size: Size
    mtime: int
    ctime: int
    inode: Whole
    nlink: U32
    link: U31
    content: Any
    xattrs: Row
    more: dict[str, Any] | None


class ExtentRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """An extent on the wire. `pack` is an index into the page's table of pack ids."""

    pack: Whole
    offset: Offset
    stored: HomeStored
    inner: Offset
    length: Length
    id: Id


class PieceRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A piece on the wire: as ExtentRow; or a hole, with its length in `pack` and nothing else."""

    pack: Size
    offset: Offset = 0
    stored: HomeStored = 0
    inner: Offset = 0
    length: Size = 0
    id: bytes = b""


class PagedRow(msgspec.Struct, gc=False, frozen=True):
    """Paged on the wire."""

    level: Level = msgspec.field(name="l")
    at: ExtentRow = msgspec.field(name="a")
    allocated: Size = msgspec.field(name="n")
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
    value: tuple[U32, U32]


_OwnerRow: TypeAlias = tuple[Owned, Owned, str, str]


class _OwnerCell(msgspec.Struct, array_like=True, gc=False, frozen=True):
    value: _OwnerRow


class Leaf(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A page of a directory's entries, sorted by name (as bytes), with its tables. `home` is not on the wire."""

    packs: list[bytes]
    owners: list[_OwnerRow]
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
        """The number of entries in an entry: itself and all below it. A malformed folder counts as 1."""
        if entry.kind not in _FOLDERS or entry.content is None:
            return 1
        try:
            return 1 + _convert((entry.content,), _SubtreeCell, entry.name).value.totals.entries
        except Damaged:
            return 1

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
            found = {key: self._xattr(value) for key, value in self._at(self.sets, index)}
        except msgspec.ValidationError as e:
            raise _garbled(name) from e
        if any(not key or b"\0" in key for key in found):
            raise _garbled(name)
        return found

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

    def check(self, entry: Entry) -> None:
        """Raise Damaged if an entry is malformed, or of a kind that the format does not have."""
        if entry.kind not in TYPE_BITS:
            raise _garbled(entry.name)

    def node(self, entry: Entry) -> Node:
        """The entry, independent of this page."""
        self.check(entry)
        e = entry
        content: Content
        if e.kind == NodeKind.FILE:
            content = self.pieces(e)
        elif e.kind == NodeKind.FOLDER:
            content = self.subtree(e)
        elif isinstance(e.content, list):
            content = e.content[0], e.content[1]
        else:
            content = e.content  # as that of a device, it was checked when the page was decoded
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
    packs, found = page.packs, list[Piece]()
    for row in rows:
        if len(row.id) == ID_BYTES and row.length and row.stored and row.pack < len(packs):
            # As `_piece` makes it. Most files have one piece, and two calls for each were a sixth of a plan.
            found.append(Extent(packs[row.pack], row.offset, row.stored, row.inner, row.length, row.id))
        else:
            found.append(_piece(page, row))
    return found


def _piece(page: _Page, row: PieceRow) -> Piece:
    if len(row.id) == ID_BYTES and row.length and row.stored:
        return _extent(page, row)
    if row.pack and not (row.offset or row.stored or row.inner or row.length or row.id):
        return Hole(row.pack)
    raise Damaged("a file's piece is neither an extent nor a hole")


leaf_decoder = msgspec.msgpack.Decoder(
    tuple[
        list[Id],
        list[_OwnerRow],
        list[list[tuple[bytes, Any]]],
        Annotated[list[Entry], _NOT_EMPTY],
    ]
)
_loose_decoder = msgspec.msgpack.Decoder(
    tuple[list[Id], list[Any], list[list[tuple[bytes, Any]]], Annotated[list[Any], _NOT_EMPTY]]
)
folder_index_decoder = msgspec.msgpack.Decoder(tuple[list[Id], Annotated[list[FolderChild], _NOT_EMPTY]])
piece_leaf_decoder = msgspec.msgpack.Decoder(tuple[list[Id], Annotated[list[PieceRow], _NOT_EMPTY]])
piece_index_decoder = msgspec.msgpack.Decoder(tuple[list[Id], Annotated[list[PieceChild], _NOT_EMPTY]])
# Have msgspec analyse now, in one thread, the classes that many threads convert to later.
msgspec.msgpack.Decoder(tuple[ExtentRow, PagedRow, _SubtreeCell, _PiecesCell, _DeviceCell, _OwnerCell, Entry])


def _check_names(names: list[bytes]) -> None:
    joined = b"\0".join(names)
    if b"/" in joined or joined.count(b"\0") != len(names) - 1 or not _NO_NAMES.isdisjoint(names):
        raise Damaged("a page of a folder holds invalid names")
    if any(map(ge, names, names[1:])):
        raise Damaged("a page of a folder holds names out of order")


def decode_leaf(data: bytes | bytearray | memoryview, home: Extent) -> Leaf:
    """A page of entries, from its bytes and its own extent. Raises Damaged."""
    try:
        packs, owners, sets, entries = leaf_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        packs, owners, sets, entries = _salvaged(data)
    _check_names([e.name for e in entries])
    for n, entry in enumerate(entries):
        if entry.kind > _FOLDER and not _fits(entry):
            entries[n] = _unreadable(entry.name)
    return Leaf(packs, owners, sets, entries, home)


def _salvaged(
    data: bytes | bytearray | memoryview,
) -> tuple[list[bytes], list[_OwnerRow], list[list[tuple[bytes, Any]]], list[Entry]]:
    """The parts of a page, of which some entries or owners are malformed. Raises Damaged if more is."""
    packs, owner_rows, sets, rows = decode(_loose_decoder, data, "a page of a folder")
    owners, bad = [], set()
    for n, row in enumerate(owner_rows):
        try:
            owners.append(msgspec.convert((row,), _OwnerCell).value)
        except msgspec.ValidationError:
            owners.append((-1, -1, "", ""))
            bad.add(n)
    entries = []
    for row in rows:
        try:
            entry = msgspec.convert(row, Entry)
        except msgspec.ValidationError as e:
            if type(row) is not list or not row or type(row[0]) is not bytes:
                raise Damaged("a page of a folder has an entry without a name") from e
            entries.append(_unreadable(row[0], row[10] if row[1:2] == [_FOLDER] and len(row) > 10 else None))
            continue
        entries.append(_unreadable(entry.name, entry.content) if entry.owner in bad else entry)
    return packs, owners, sets, entries


def _unreadable(name: bytes, content: Any = None) -> Entry:
    return Entry(name, UNREADABLE, 0, 0, 0, 0, 0, 0, 1, 0, content, -1, None)


def _fits(entry: Entry) -> bool:
    """Whether an entry that is neither a file nor a folder has a content of its kind."""
    content = entry.content
    if entry.kind == NodeKind.SYMLINK:
        return type(content) is bytes and b"\0" not in content
    if entry.kind in (NodeKind.CHAR_DEVICE, NodeKind.BLOCK_DEVICE):
        try:
            msgspec.convert((content,), _DeviceCell)
            return True
        except msgspec.ValidationError:
            return False
    return content is None


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
