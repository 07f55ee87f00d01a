"""Writes tree pages: of folders, node by node, and of the pieces of long files."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from catalog.format.nodes import Node, totals
from catalog.format.packs import Extent
from catalog.format.pages import Entry, ExtentRow, PagedRow
from catalog.format.values import NOTHING, Content, Hole, Owner, Paged, Piece, Subtree, Totals, Xattrs
from catalog.format.windows import encode_windows, windows_bound

PAGE_MAX = 64 << 10  # bytes; a page ends before the entry that would exceed it
TREE_BLOCK_RAW = 256 << 10  # bytes of pages in one tree block
INLINE_PIECES = 32  # pieces; a file with more has them in pages of their own
INLINE_XATTR = 4 << 10  # bytes; a larger value is stored out of line
PIECES_MAX = 1024  # in one page
_encoder = msgspec.msgpack.Encoder()


_HoleRow: TypeAlias = tuple[int]
_Set: TypeAlias = list[tuple[bytes, bytes | ExtentRow]]
Resolve: TypeAlias = Callable[[Extent], Extent]  # fills in the stored length, unless the block is still open


def _as_it_is(e: Extent) -> Extent:
    return e


class Tables:
    """The tables of a page being written, and entries that refer to them."""

    def __init__(self, resolve: Resolve) -> None:
        self.resolve = resolve
        self.packs: dict[bytes, int] = {}
        self.owners: dict[Owner, int] = {}
        self.sets: dict[bytes, int] = {}
        self.set_rows: list[_Set] = []

    def extent(self, e: Extent) -> ExtentRow:
        if e.stored == 0:
            e = self.resolve(e)
        number = self.packs.setdefault(e.pack, len(self.packs))
        return ExtentRow(number, e.offset, e.stored, e.inner, e.length, e.id)

    def piece(self, p: Piece) -> ExtentRow | _HoleRow:
        return (p.length,) if isinstance(p, Hole) else self.extent(p)

    def xattrs(self, xattrs: Xattrs | None) -> int:
        if not xattrs:
            return -1
        rows: _Set = [
            (name, value if isinstance(value, bytes) else self.extent(value.at))
            for name, value in sorted(xattrs.items())
        ]
        key = _encoder.encode(rows)
        if key not in self.sets:
            self.sets[key] = len(self.sets)
            self.set_rows.append(rows)
        return self.sets[key]

    def content(self, content: Content) -> object:
        if isinstance(content, list):  # of most entries
            return [self.piece(p) for p in content]
        if isinstance(content, Paged):
            return PagedRow(content.level, self.extent(content.at), content.allocated, content.digest)
        if isinstance(content, Subtree):
            return content.level, self.extent(content.at), content.totals
        return content

    def entry(self, n: Node) -> Entry:
        owner = self.owners.setdefault(n.owner, len(self.owners))
        return Entry(
            n.name, n.kind, n.mode, owner, n.size, n.mtime, n.ctime, n.inode, n.nlink, n.link,
            self.content(n.content), self.xattrs(n.xattrs),
            n.more if n.windows is None else encode_windows(self, n.windows, n.more),
        )  # fmt: skip


def begins_page(name: bytes, level: int) -> bool:
    """Whether a name begins a page of this level (0: leaves). One in 128 does; only its CRC-32 decides."""
    return (zlib.crc32(name) >> (7 * level)) & 127 == 0


def ends_page(chunk_id: bytes, level: int) -> bool:
    """Whether a piece ends a page of pieces of this level. One in 256 does; only its chunk id decides."""
    return chunk_id[level] == 0


WritePage: TypeAlias = Callable[[bytes], Extent]  # stores a page, or finds an equal one; returns its extent


class FolderWriter:
    """Writes the pages of one folder. Nodes are added in ascending order of their names."""

    def __init__(self, write: WritePage, resolve: Resolve = _as_it_is) -> None:
        self._write, self._resolve = write, resolve
        self._rows: list[tuple[bytes, Extent, Totals]] = []
        self._begin_page()

    def _begin_page(self) -> None:
        self._nodes: list[Node] = []
        self._size = 0

    def add(self, node: Node) -> None:
        """Add the next node; its name must be greater, as bytes, than the one before."""
        size = _bound(node)
        if self._nodes and (self._size + size > PAGE_MAX or begins_page(node.name, 0)):
            self._flush()
        self._nodes.append(node)
        self._size += size

    def _flush(self) -> None:
        # Encode only now: blocks may have been sealed since the nodes were added, and stored lengths be known.
        t = Tables(self._resolve)
        entries = [t.entry(node) for node in self._nodes]
        page = _encoder.encode((list(t.packs), list(t.owners), t.set_rows, entries))
        self._rows.append((self._nodes[0].name, self._write(page), totals(self._nodes)))
        self._begin_page()

    def finish(self) -> Subtree | None:
        """Write the last page and the index pages. None for an empty folder."""
        if self._nodes:
            self._flush()
        return _folder_levels(self._rows, self._write, self._resolve) if self._rows else None

    def so_far(self, more: Iterable[Node]) -> Subtree | None:
        """The folder with the nodes so far and `more`, written without changing the state of this writer."""
        copy = FolderWriter(self._write, self._resolve)
        copy._rows = list(self._rows)
        for node in self._nodes:
            copy.add(node)
        for node in more:
            copy.add(node)
        return copy.finish()


def write_folder(nodes: Iterable[Node], write: WritePage, resolve: Resolve = _as_it_is) -> Subtree | None:
    """Write the pages of a folder. `nodes` have ascending names. None if there are none."""
    writer = FolderWriter(write, resolve)
    for node in nodes:
        writer.add(node)
    return writer.finish()


def _bound(node: Node) -> int:
    """An upper bound of the bytes that a node occupies in a page, with its rows of the tables."""
    content, owner = node.content, node.owner
    bound = 76 + len(node.name) + len(owner.user) + len(owner.group)
    if isinstance(content, list):
        bound += 66 * len(content)
    else:
        bound += 132 + (len(content) if isinstance(content, bytes) else 0)
    if node.xattrs:
        bound += sum(len(k) + (len(v) if isinstance(v, bytes) else 70) for k, v in node.xattrs.items())
    if node.more:
        bound += len(_encoder.encode(node.more))
    if node.windows is not None:
        bound += windows_bound(node.windows)
    return bound


def _folder_levels(rows: list[tuple[bytes, Extent, Totals]], write: WritePage, resolve: Resolve) -> Subtree:
    level = 0
    while len(rows) > 1:
        level += 1
        above: list[tuple[bytes, Extent, Totals]] = []
        for group in _groups(rows, lambda row, level=level: begins_page(row[0], level)):  # type: ignore[misc]
            tables = Tables(resolve)
            children = [(first, tables.extent(at), totals) for first, at, totals in group]
            page = _encoder.encode((list(tables.packs), children))
            totals = NOTHING
            for _first, _at, below in group:
                totals = totals.plus(below)
            above.append((group[0][0], write(page), totals))
        rows = above
    _name, at, totals = rows[0]
    return Subtree(level, at, totals)


def _groups(rows: list[Any], begins: Callable[[Any], bool]) -> Iterable[list[Any]]:
    """Rows grouped by index page: 2 (so that each level is smaller than the one below) to 512 rows, 64 KiB."""
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
    """Writes the pieces of one file: up to 32 go into the entry, more into pages, in bounded memory."""

    def __init__(self, write: WritePage, resolve: Resolve = _as_it_is) -> None:
        self._write, self._resolve = write, resolve
        self._pieces: list[Piece] = []
        self._rows: list[tuple[bytes, Extent, int]] = []  # (last chunk id, page, bytes covered)

    def add(self, piece: Piece) -> None:
        """Add the next piece. Adjacent holes are merged."""
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
        """The content of the file's entry. `digest` and `allocated` (bytes) as in Paged."""
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
