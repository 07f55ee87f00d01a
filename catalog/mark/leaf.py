"""What one leaf page of a folder refers to, and what its entries add up to. A tree may have a million entries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from catalog.errors import Damaged, NewerFormat
from catalog.format.keys import ID_BYTES
from catalog.format.packs import Extent
from catalog.format.pages import Entry, Leaf, PieceRow
from catalog.format.values import Hole, NodeKind, OutOfLine, Paged, Piece, Subtree, Totals
from catalog.format.windows import MARK, WindowsRow
from catalog.mark.live import STORED_BITS, packed

_FILE, _FOLDER = int(NodeKind.FILE), int(NodeKind.FOLDER)


class _Contents(msgspec.Struct, array_like=True, gc=False, frozen=True):
    value: list[list[PieceRow]]


class _WindowsRows(msgspec.Struct, array_like=True, gc=False, frozen=True):
    value: list[WindowsRow]


class Wrong(NamedTuple):
    """Something wrong with an entry. `malformed`: what it refers to is not known."""

    name: bytes
    reason: str
    malformed: bool


class LeafContents:
    """The contents of a leaf: `blocks` of data packs by pack, as `live.packed`; `folders` and `paged` contents with
    the names of their entries, and the size (bytes) of the latter; `values` out of line; `totals`; what is `wrong`.
    """

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf
        self.blocks: dict[bytes, set[int]] = {}
        self.folders: list[tuple[bytes, Subtree]] = []
        self.paged: list[tuple[bytes, Paged, int]] = []
        self.values: list[Extent] = []
        self.wrong: list[Wrong] = []
        self._files = self._bytes = self._xattrs = 0
        self._below = list[Totals]()
        self._read()

    @property
    def totals(self) -> Totals:
        total = Totals(len(self.leaf.entries), self._files, self._bytes, self._xattrs)
        for below in self._below:
            total = total.plus(below)
        return total.plus(Totals(0, 0, 0, 0))  # within what the wire has room for

    def _read(self) -> None:
        leaf, plain, windows, others = self.leaf, list[Entry](), list[Entry](), list[Entry]()
        owners, sets = len(leaf.owners), len(leaf.sets)
        for entry in leaf.entries:
            if entry.xattrs >= 0:
                self._xattrs += 1
            if entry.kind == _FILE:
                self._files += 1
                self._bytes += entry.size
                more = entry.more
                if type(entry.content) is list and entry.owner < owners and entry.xattrs < sets:
                    if not more:
                        plain.append(entry)
                        continue
                    if MARK in more and "streams" not in more:
                        windows.append(entry)
                        continue
            others.append(entry)
        self._plain(plain + self._windows(windows, others))
        for entry in others:
            self._try(entry)
        for n in range(sets):
            try:
                values = leaf.xattr_set(n, leaf.entries[0].name).values()
            except Damaged:
                continue  # the entries that have it are wrong
            self.values += [value.at for value in values if isinstance(value, OutOfLine)]

    def _windows(self, entries: list[Entry], others: list[Entry]) -> list[Entry]:
        """Check Windows metadata of files without streams, all at once. What is malformed is added to `others`."""
        try:
            rows = msgspec.convert(([entry.more for entry in entries],), _WindowsRows).value
        except msgspec.ValidationError:
            others += entries
            return []
        good, known = list[Entry](), set[tuple[int | None, int | None, int | None]]()
        for entry, row in zip(entries, rows, strict=True):
            values = row.security, row.reparse, row.extended
            if row.short or values not in known:
                try:
                    self.leaf.windows(entry)
                except Damaged:
                    others.append(entry)
                    continue
                known.add(values)
            good.append(entry)
        return good

    def _plain(self, entries: list[Entry]) -> None:
        """Files whose pieces are in their entries, as most are: all at once."""
        try:
            contents = msgspec.convert(([entry.content for entry in entries],), _Contents).value
        except msgspec.ValidationError:
            for entry in entries:
                self._try(entry)
            return
        packs, table = self.leaf.packs, list[set[int] | None]()
        table = [None] * len(packs)
        for entry, rows in zip(entries, contents, strict=True):
            length = 0
            for row in rows:
                pack = row.pack
                if len(row.id) != ID_BYTES or not row.length or not row.stored or pack >= len(packs):
                    break
                blocks = table[pack]
                if blocks is None:
                    blocks = table[pack] = self.blocks.setdefault(packs[pack], set())
                blocks.add(row.offset << STORED_BITS | row.stored)
                length += row.length
            else:
                if entry.xattrs >= 0:
                    self._try_xattrs(entry)
                if length != entry.size:
                    self.wrong.append(_wrong_size(entry.name, length, entry.size))
                continue
            self._try(entry)  # it has a hole, or is malformed

    def _try(self, entry: Entry) -> None:
        try:
            self._entry(entry)
        except (Damaged, NewerFormat) as e:
            self.wrong.append(Wrong(entry.name, str(e), True))

    def _try_xattrs(self, entry: Entry) -> None:
        try:
            self.leaf.xattrs(entry)
        except Damaged as e:
            self.wrong.append(Wrong(entry.name, str(e), True))

    def _entry(self, entry: Entry) -> None:
        leaf = self.leaf
        leaf.check(entry)
        leaf.owner(entry)
        leaf.xattrs(entry)
        if entry.kind == _FOLDER:
            tree = leaf.subtree(entry)
            if tree is not None:
                self.folders.append((entry.name, tree))
                self._below.append(tree.totals)
        for content, size in contents_of(leaf, entry):
            if isinstance(content, Paged):
                self.paged.append((entry.name, content, size))
                continue
            for piece in content:
                if isinstance(piece, Extent):
                    self.blocks.setdefault(piece.pack, set()).add(packed(piece.offset, piece.stored))
            length = sum(piece.length for piece in content)
            if length != size:
                self.wrong.append(_wrong_size(entry.name, length, size))


def contents_of(leaf: Leaf, entry: Entry) -> list[tuple[list[Piece] | Paged, int]]:
    """The contents of an entry and their sizes in bytes: a file's own, and those of its streams. Raises Damaged."""
    windows = leaf.windows(entry)
    found = [(leaf.pieces(entry), entry.size)] if entry.kind == _FILE else []
    return found if windows is None else found + [(s.content, s.size) for s in windows.streams]


def pieces_in_entries(leaf: Leaf) -> Iterator[tuple[bytes, Extent]]:
    """The pieces that are in the entries themselves, with the names of these. Malformed entries are left out."""
    for entry in leaf.entries:
        try:
            contents = contents_of(leaf, entry)
        except (Damaged, NewerFormat):
            continue
        for content, _size in contents:
            for piece in content if isinstance(content, list) else ():
                if not isinstance(piece, Hole):
                    yield entry.name, piece


def _wrong_size(name: bytes, length: int, size: int) -> Wrong:
    text = name.decode(errors="replace")
    return Wrong(name, f"the pieces of {text!r} have {length} bytes, and not {size}", False)
