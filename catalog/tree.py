"""Finding one's way in a tree: lookups, pages of entries, inode numbers, pieces of files.

Nothing here fetches: a `PageSource` gives the bytes of a page's extent (cache's reader, or DirectSource).
An entry's number is its place in a walk of the whole tree (the root is 1, a folder comes before what is in
it, entries go by name as bytes): the same at every mount, and known without walking, from the totals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from catalog.errors import Damaged
from catalog.format.message import MAX_LEVEL
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
    """Where pages come from. The decoding methods exist so that a source can keep decoded pages."""

    def leaf(self, at: Extent) -> Leaf: ...
    def folder_index(self, at: Extent) -> FolderIndex: ...
    def piece_leaf(self, at: Extent) -> PieceLeaf: ...
    def piece_index(self, at: Extent) -> PieceIndex: ...


class ChunkSource:
    """A PageSource over `chunk`, which returns the verified bytes of a tree page's extent."""

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


_FOLDER = int(NodeKind.FOLDER)


class NumberedLeaf(NamedTuple):
    """A leaf page, and the number of its first entry."""

    leaf: Leaf
    first_number: int

    def numbers(self) -> list[int]:
        """The number of each entry of the page."""
        numbers, number = [], self.first_number
        for entry in self.leaf.entries:
            numbers.append(number)
            number += self.leaf.entries_in(entry) if entry.kind == _FOLDER else 1
        return numbers


class Found(NamedTuple):
    """An entry, its page (for what the entry's indexes mean), and its number."""

    entry: Entry
    leaf: Leaf
    number: int


def _check_level(level: int) -> None:
    if not 0 <= level <= MAX_LEVEL:
        raise Damaged(f"a folder has {level} levels of pages")


def leaves(
    source: PageSource, folder: Subtree | None, folder_number: int, *, start: bytes = b""
) -> Iterator[NumberedLeaf]:
    """The pages of a folder that can hold names >= `start`, in order, with the numbers of their entries."""
    if folder is None:
        return
    _check_level(folder.level)
    yield from _leaves(source, folder.level, folder.at, folder_number + 1, start)


def _leaves(source: PageSource, level: int, at: Extent, number: int, start: bytes) -> Iterator[NumberedLeaf]:
    if level == 0:
        yield NumberedLeaf(source.leaf(at), number)
        return
    index = source.folder_index(at)
    children = index.children
    for n, child in enumerate(children):
        last = n + 1 == len(children)
        if not start or last or children[n + 1].first > start:
            yield from _leaves(source, level - 1, index.at(child), number, start)
        number += child.totals.entries


def page_with(source: PageSource, folder: Subtree, folder_number: int, number: int) -> tuple[Extent, int]:
    """The page of a folder in whose range a number lies, and the number of that page's first entry.

    The range of a page holds its entries and all that is below them. Whether the folder's own range holds the
    number is for the caller to know: it is given by the folder's number and totals.
    """
    _check_level(folder.level)
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
    return at, first


def lookup(source: PageSource, folder: Subtree | None, folder_number: int, name: bytes) -> Found | None:
    """One entry by its exact name; reads one page a level. None if there is none."""
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
    """One step of a walk: the path from the root (b"" for none), and what was found there."""

    path: bytes
    found: Found


def walk(source: PageSource, folder: Subtree | None, folder_number: int = 1, path: bytes = b"") -> Iterator[Walked]:
    """Everything below a folder, a folder before what is in it."""
    # A stack of its own: folders may be nested deeper than Python's calls.
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
    """The pieces of one file, found by offset. Reads pages of pieces only when they are needed."""

    def __init__(self, source: PageSource, content: list[Piece] | Paged) -> None:
        self._source = source
        self._paged = content if isinstance(content, Paged) else None
        self._inline = None if isinstance(content, Paged) else _starts(content)

    def run(self, offset: int) -> tuple[list[int], list[Piece]]:
        """A run of neighbouring pieces around `offset` (bytes): their starts in the file, and they themselves.

        The run holds the piece with `offset` in it, unless `offset` is at or after the end: then it is empty or
        ends before. Ask again from where the run ends to go on.
        """
        if self._inline is not None:
            return self._inline
        assert self._paged is not None
        _check_level(self._paged.level)
        level, at, start = self._paged.level, self._paged.at, 0
        covers = 0  # bytes that the page reached is said to cover; 0: nothing was said
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
            raise Damaged(f"a page of a file's pieces does not cover the {covers} bytes it should")
        return _starts(pieces, start)

    def all(self) -> Iterator[Piece]:
        """Every piece, in order."""
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
    """Bytes of a file that are not holes."""
    if isinstance(content, Paged):
        return content.allocated
    return sum(p.length for p in content if not isinstance(p, Hole))
