"""Navigates a tree: lookups, pages of entries, inode numbers, pieces of files.

A `PageSource` (the cache's Reader, or DirectSource) supplies the pages; nothing here fetches any. An entry's number
is its position in a walk of the whole tree: the root is 1, a folder comes before its contents, and entries are
sorted by name, as bytes. Numbers are the same at every mount, and totals give them without a walk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeAlias

from catalog.errors import Damaged
from catalog.format.message import MAX_ENTRIES, MAX_LEVEL
from catalog.format.packs import Extent
from catalog.format.pages import (
    Entry,
    FolderIndex,
    Leaf,
    PieceIndex,
    PieceLeaf,
    decode_folder_index,
    decode_leaf,
    decode_piece_index,
    decode_piece_leaf,
)
from catalog.format.values import Hole, NodeKind, Paged, Piece, Subtree

ROOT_NUMBER = 1


class PageSource(Protocol):
    """A source of decoded pages, by their extents. It may keep pages decoded."""

    def leaf(self, at: Extent) -> Leaf: ...
    def folder_index(self, at: Extent) -> FolderIndex: ...
    def piece_leaf(self, at: Extent) -> PieceLeaf: ...
    def piece_index(self, at: Extent) -> PieceIndex: ...


class ChunkSource:
    """A PageSource that decodes what `chunk` returns: the verified bytes of a page's extent."""

    def chunk(self, at: Extent) -> bytes | bytearray | memoryview:
        raise NotImplementedError

    def leaf(self, at: Extent) -> Leaf:
        return decode_leaf(self.chunk(at), at)

    def folder_index(self, at: Extent) -> FolderIndex:
        return decode_folder_index(self.chunk(at), at)

    def piece_leaf(self, at: Extent) -> PieceLeaf:
        return decode_piece_leaf(self.chunk(at), at)

    def piece_index(self, at: Extent) -> PieceIndex:
        return decode_piece_index(self.chunk(at), at)


Lost: TypeAlias = Callable[[Damaged], None]  # hears of a page that can't be read, once for each

_FILE = int(NodeKind.FILE)


class NumberedLeaf(NamedTuple):
    """A leaf page and the number of its first entry."""

    leaf: Leaf
    first_number: int

    def numbers(self) -> list[int]:
        """The numbers of the page's entries."""
        numbers, number = [], self.first_number
        for entry in self.leaf.entries:
            numbers.append(number)
            number += self.leaf.entries_in(entry) if entry.kind != _FILE else 1
        check_number(number - 1)
        return numbers


class Found(NamedTuple):
    """An entry, its page (whose tables the entry refers to), and its number."""

    entry: Entry
    leaf: Leaf
    number: int


def check_level(level: int) -> None:
    """Raise Damaged if a tree of pages is higher than the format allows."""
    if not 0 <= level <= MAX_LEVEL:
        raise Damaged(f"a page tree has {level} levels, more than the limit of {MAX_LEVEL}")


def check_number(number: int) -> None:
    """Raise Damaged if an entry's number does not fit in 32 bits: drives tell points apart by the bits above."""
    if number > MAX_ENTRIES + 1:
        raise Damaged("the totals of a tree's pages are more than a tree may have")


def leaves(
    source: PageSource, folder: Subtree | None, folder_number: int, *, start: bytes = b"", lost: Lost | None = None
) -> Iterator[NumberedLeaf]:
    """The pages of a folder that can hold names >= `start`, in order, with the numbers of their entries.

    Raises Damaged, unless `lost` is given: it hears of a page that can't be read, and the pages after it follow.
    """
    if folder is None:
        return
    check_level(folder.level)
    yield from _leaves(source, folder.level, folder.at, folder_number + 1, start, lost)


def _leaves(
    source: PageSource, level: int, at: Extent, number: int, start: bytes, lost: Lost | None
) -> Iterator[NumberedLeaf]:
    check_number(number)
    try:
        page = source.leaf(at) if level == 0 else source.folder_index(at)
    except Damaged as e:
        if lost is None:
            raise
        lost(e)
        return
    if isinstance(page, Leaf):
        yield NumberedLeaf(page, number)
        return
    children = page.children
    for n, child in enumerate(children):
        last = n + 1 == len(children)
        if not start or last or children[n + 1].first > start:
            yield from _leaves(source, level - 1, page.at(child), number, start, lost)
        number += child.totals.entries


def page_with(source: PageSource, folder: Subtree, folder_number: int, number: int) -> tuple[Extent, int]:
    """The page of a folder whose range contains a number, and the number of that page's first entry.

    The range of a page covers its entries and everything below them. The caller must make sure that the folder's
    own range, known from its number and totals, contains the number.
    """
    check_level(folder.level)
    at, first = folder.at, folder_number + 1
    for _level in range(folder.level):
        index = source.folder_index(at)
        for child in index.children[:-1]:
            if number < first + child.totals.entries:
                break
            first += child.totals.entries
        else:
            child = index.children[-1]
        at = index.at(child)
    check_number(first)
    return at, first


def lookup(source: PageSource, folder: Subtree | None, folder_number: int, name: bytes) -> Found | None:
    """One entry by its exact name, or None. Reads one page per level."""
    page = next(leaves(source, folder, folder_number, start=name), None)
    if page is None:
        return None
    entries = page.leaf.entries
    low, high = 0, len(entries)
    while low < high:
        middle = (low + high) // 2
        if entries[middle].name < name:
            low = middle + 1
        else:
            high = middle
    if low == len(entries) or entries[low].name != name:
        return None
    number = page.first_number
    for entry in entries[:low]:
        number += page.leaf.entries_in(entry)
    return Found(entries[low], page.leaf, number)


class Walked(NamedTuple):
    """One step of a walk: the path from the root, without a leading slash, and the entry there."""

    path: bytes
    found: Found


def walk(source: PageSource, folder: Subtree | None, folder_number: int = 1, path: bytes = b"") -> Iterator[Walked]:
    """Everything below a folder, each folder before its contents."""
    # An explicit stack: folders may be nested deeper than Python allows calls to be.
    stack = [(path, _found(source, folder, folder_number))]
    while stack:
        above, rest = stack[-1]
        found = next(rest, None)
        if found is None:
            stack.pop()
            continue
        here = above + b"/" + found.entry.name if above else found.entry.name
        yield Walked(here, found)
        if found.entry.kind == NodeKind.FOLDER:
            stack.append((here, _found(source, found.leaf.subtree(found.entry), found.number)))


def _found(source: PageSource, folder: Subtree | None, folder_number: int) -> Iterator[Found]:
    for page in leaves(source, folder, folder_number):
        for entry, number in zip(page.leaf.entries, page.numbers(), strict=True):
            yield Found(entry, page.leaf, number)


class Pieces:
    """The pieces of one file, by offset. Reads pages of pieces only when they are needed."""

    def __init__(self, source: PageSource, content: list[Piece] | Paged) -> None:
        self._source = source
        self._paged = content if isinstance(content, Paged) else None
        self._inline = None if isinstance(content, Paged) else _starts(content)

    def run(self, offset: int) -> tuple[list[int], list[Piece]]:
        """Consecutive pieces around `offset` (bytes): their starts in the file, and the pieces.

        They include the piece that contains `offset`. If `offset` is at or after the end of the file, they end
        before it, or there are none. To go on, ask again from where they end.
        """
        if self._inline is not None:
            return self._inline
        assert self._paged is not None
        check_level(self._paged.level)
        level, at, start = self._paged.level, self._paged.at, 0
        covers = 0  # bytes that the index page says the page covers; 0 without an index page
        while level:
            index = self._source.piece_index(at)
            for child in index.children[:-1]:
                if offset < start + child.covers:
                    break
                start += child.covers
            else:
                child = index.children[-1]
            at, covers = index.at(child), child.covers
            level -= 1
        pieces = self._source.piece_leaf(at).pieces()
        if covers and sum(p.length for p in pieces) != covers:
            raise Damaged(f"a page of a file's pieces does not cover {covers} bytes, as its index says")
        return _starts(pieces, start)

    def all(self) -> Iterator[Piece]:
        """All pieces, in order."""
        offset = 0
        while True:
            starts, pieces = self.run(offset)
            if not pieces or starts[-1] + pieces[-1].length <= offset:
                return
            yield from pieces
            offset = starts[-1] + pieces[-1].length


def _starts(pieces: list[Piece], start: int = 0) -> tuple[list[int], list[Piece]]:
    starts = []
    for piece in pieces:
        starts.append(start)
        start += piece.length
    return starts, pieces


def allocated(content: list[Piece] | Paged) -> int:
    """Bytes of a file that are not in holes."""
    if isinstance(content, Paged):
        return content.allocated
    return sum(p.length for p in content if not isinstance(p, Hole))
