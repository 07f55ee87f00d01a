"""Everything that an archive holds, in its order, from any entry on.

An entry is known by its *key*: the number of its top, and its number in a walk of that point (catalog.tree). So a
walk goes on from any key by reading the pages on the way to it, and nothing of what comes before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from catalog.errors import Damaged
from catalog.format.packs import Extent
from catalog.format.pages import Entry, Leaf
from catalog.format.values import NodeKind, Subtree
from catalog.tree import ROOT_NUMBER, NumberedLeaf, PageSource, check_level
from mount.browse.resources.archives.tops import Top

_FOLDER = int(NodeKind.FOLDER)
_FILE = int(NodeKind.FILE)
_BITS = 32  # of an entry's number in its key
_ELSEWHERE = 1 << 62  # in keys of folders above a top: no stop is noted there
MAX_PATH = 64 << 10  # bytes of a folder's path; what is below a longer one is left out

# Called with the number of a folder's entry in its key, its path, the number from which on its pages can't be read,
# and why.
Broken = Callable[[int, bytes, int, Damaged], None]


class Member(NamedTuple):
    """An entry of the archive: its path there, its key, and its page. A whole point has neither page nor entry."""

    path: bytes
    key: int
    leaf: Leaf | None
    entry: Entry | None


class Walk:
    """The members of an archive, which may be walked from any key, any number of times.

    `stops` says of folders, by their keys, from which number on their pages can't be read. A walk ends such a
    folder there. At other pages that can't be read it calls `broken`, if given, and goes on behind the folder; else
    it raises Damaged. Raises StoreError.
    """

    def __init__(self, source: PageSource, tops: Sequence[Top], stops: dict[int, int] | None = None) -> None:
        self.tops = tops
        self.stops: dict[int, int] = {} if stops is None else stops
        self._source = source

    def members(self, start: int = 0, broken: Broken | None = None) -> Iterator[Member]:
        """The members from a key on."""
        first = start >> _BITS
        for n in range(first, len(self.tops)):
            begin = start & ((1 << _BITS) - 1) if n == first else 0
            yield from self._top(n, begin, broken)

    def member(self, key: int) -> Member:
        """The member with this key. Raises Damaged."""
        found = next(self.members(key), None)
        if found is None or found.key != key:
            raise Damaged("the pages of this folder are not what they were a moment ago")
        return found

    def _top(self, n: int, begin: int, broken: Broken | None) -> Iterator[Member]:
        top, base = self.tops[n], n << _BITS
        number, folder = top.spot.number, top.spot.folder
        if begin <= number:
            yield Member(top.name, base | number, *((None, None) if top.spot.is_whole else self._entry(top)))
        if folder is None:
            return
        # An explicit stack: folders may be nested deeper than Python allows calls to be.
        stack = [(top.name + b"/", self._entries(folder, base, number, top.name, begin, broken))]
        while stack:
            above, rest = stack[-1]
            for leaf, entry, number in rest:
                path = above + entry.name
                if number >= begin:
                    yield Member(path, base | number, leaf, entry)
                if entry.kind == _FOLDER:
                    below = self._below(leaf, entry, base | number, path, broken)
                    if below is not None:
                        stack.append((path + b"/", self._entries(below, base, number, path, begin, broken)))
                        break
            else:
                stack.pop()

    def _entry(self, top: Top) -> tuple[Leaf, Entry]:
        """The page and the entry of a top, by its number. Raises Damaged."""
        root, wanted = top.point.root, top.spot.number
        folder, number = root.subtree() if root else None, ROOT_NUMBER
        while folder is not None and (found := next(self._holding(folder, number, wanted), None)) is not None:
            leaf, entry, number = found
            if number == wanted:
                return leaf, entry
            folder = leaf.subtree(entry)
        raise Damaged("the pages of this folder are not what they were a moment ago")

    def _holding(self, folder: Subtree, number: int, begin: int) -> Iterator[tuple[Leaf, Entry, int]]:
        """The entries of a folder that have, or hold, a number from `begin` on."""
        return self._entries(folder, _ELSEWHERE, number, b"", begin, None)

    def _below(self, leaf: Leaf, entry: Entry, key: int, path: bytes, broken: Broken | None) -> Subtree | None:
        """What is in a folder. None if it is empty, or its pages can't be found."""
        if key in self.stops and self.stops[key] == 0:
            return None
        try:
            if len(path) > MAX_PATH:
                raise Damaged("its path is too long")
            return leaf.subtree(entry)
        except Damaged as e:
            if broken is None:
                raise
            broken(key, path, 0, e)
            return None

    def _entries(
        self, folder: Subtree, base: int, number: int, path: bytes, begin: int, broken: Broken | None
    ) -> Iterator[tuple[Leaf, Entry, int]]:
        """The entries of a folder that have, or hold, a number from `begin` on."""
        key = base | number
        stop = self.stops.get(key)
        if stop == 0:
            return
        pages = _Pages(self._source, begin, stop)
        try:
            check_level(folder.level)
            for page in pages.below(folder.level, folder.at, number + 1):
                leaf = page.leaf
                for entry, n in zip(leaf.entries, page.numbers(), strict=True):
                    if n >= begin or (entry.kind != _FILE and n + leaf.entries_in(entry) > begin):
                        yield leaf, entry, n
        except Damaged as e:
            if broken is None:
                raise
            broken(key, path, pages.at, e)


class _Pages:
    """The pages of one folder that hold numbers from `begin` on. `at`: first of the page being read."""

    def __init__(self, source: PageSource, begin: int, stop: int | None) -> None:
        self._source, self._begin, self._stop = source, begin, stop
        self.at = 0

    def below(self, level: int, at: Extent, number: int) -> Iterator[NumberedLeaf]:
        if self._stop is not None and number >= self._stop:
            return
        self.at = number
        if level == 0:
            yield NumberedLeaf(self._source.leaf(at), number)
            return
        index = self._source.folder_index(at)
        last = len(index.children) - 1
        for n, child in enumerate(index.children):
            if n == last or number + child.totals.entries > self._begin:
                yield from self.below(level - 1, index.at(child), number)
            number += child.totals.entries
