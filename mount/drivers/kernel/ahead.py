"""Prepares listings ahead of a walk: while a program works on one folder, the answers for the next are encoded.

Programs that walk a tree list its folders in the order of their numbers. So the folder after this one is known, and
the thread that answers the kernel prepares it while it would wait for the next request. It stops as soon as a
request is there. What is missing in memory is fetched and decoded by another thread, once the program has listed
some folders in that order.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Generator
from struct import Struct
from typing import NamedTuple, TypeAlias

from cache.memory import Lru
from cache.reader import Reader, WouldWait
from catalog.format.blocks import Buffer
from catalog.format.values import NodeKind, Subtree
from mount.drivers.kernel.records import FIRST_COOKIE, Encoded
from mount.view.point import Tree, TreeFolder, TreePage

MOST = 24  # folders or pages that are prepared and not yet listed
WHOLE = 32 << 10  # bytes of the answers that are made ready: programs list with buffers of that size
SURE = 4  # with so many the walk is certain enough to fetch for it
FOLDERS = 100_000  # that are known to come, of 8 bytes each; the same walk goes on from any later one
_FOLDER = int(NodeKind.FOLDER)
_DOTS = Struct("=128xQQII8s128xQQII8s")  # `.` and `..`, without attributes
_DIRECTORY = 0o040000 >> 12
_Key: TypeAlias = tuple[int, int]  # of a page: its tree and first number; of an empty folder: that and -number
_Encoded: TypeAlias = Lru[tuple[int, int], Encoded]


class Ready(NamedTuple):
    """The answer that lists a whole folder."""

    parts: list[Buffer]
    size: int  # bytes
    end: int  # the cookie of the last entry: what follows it is an empty answer
    node_ids: list[int]  # as in listings.Answer
    links: list[tuple[int, int]]
    pages: list[TreePage]
    key: _Key  # of the last page


class _Level:
    """A folder on the way to what is prepared next, and the numbers of the folders in it that are still to come."""

    __slots__ = ("folders", "following", "last", "number", "subtree", "tree")

    def __init__(self, tree: Tree, subtree: Subtree, number: int) -> None:
        self.tree = tree
        self.subtree = subtree
        self.number = number
        self.last = number + subtree.totals.entries
        self.folders = array("Q")
        self.following = 0  # index of the next of these


class Ahead:
    """What follows the folder that was listed last. `step` is called by one thread, the others by any.

    `encoded` keeps encoded pages. `pending`: whether `step` has something to do.
    """

    def __init__(self, reader: Reader, encoded: _Encoded) -> None:
        self.pending = False
        self.ready: dict[int, Ready] = {}  # by the folder's node id
        self._reader = reader
        self._encoded = encoded
        self._served: deque[tuple[_Key, TreeFolder | None, TreePage | None]] = deque(maxlen=MOST)
        self._now: _Key = (-1, 0)  # what was listed last
        self._node_id = 0  # of what is `ready` of that
        self._order: dict[_Key, int] = {}  # what is prepared, as a walk comes to it; node ids of what is ready
        self._walk: Generator[None, None, None] | None = None
        self._levels: list[_Level] = []  # the folders above what is prepared next, from the top
        self._at = (-1, 0)  # the folder that is being prepared: its tree and number
        self._waits = False  # for a block that is not in memory
        self._most = 1

    def listed(self, folder: TreeFolder, page: TreePage | None) -> None:
        """Note that entries of a folder were listed, the last of them in `page`."""
        if page is not None:
            self._note((page.tree.base, page.first), folder, page)
        elif folder.subtree is None:
            self._note((folder.tree.base, -folder.number), folder, page)

    def used(self, ready: Ready) -> None:
        """Note that an answer was sent."""
        self._note(ready.key, None, None)

    def _note(self, key: _Key, folder: TreeFolder | None, page: TreePage | None) -> None:
        if key != self._now or self._waits:
            self._served.append((key, folder, page))
            self.pending = True

    def step(self) -> None:
        """Do a small part of the work, less than a millisecond."""
        while self._served:
            self._follow(*self._served.popleft())
        if self._walk is not None and len(self._order) < self._most:
            try:
                next(self._walk)
            except StopIteration:
                self._walk = None
            except Exception:  # noqa: BLE001 - the request for it meets the same, and reports it
                self._walk = None
        self.pending = self._walk is not None and not self._waits and len(self._order) < self._most

    def _follow(self, key: _Key, folder: TreeFolder | None, page: TreePage | None) -> None:
        self._waits = False
        if key == self._now:
            return
        if key in self._order:
            self._most = min(2 * self._most, MOST)
            passed: _Key = self._now
            self.ready.pop(self._node_id, None)
            while passed != key:
                passed = next(iter(self._order))
                self._node_id = self._order.pop(passed)
                if passed != key:
                    self.ready.pop(self._node_id, None)
        elif folder is not None:
            self.ready.clear()
            self._order.clear()
            self._node_id = 0
            if self._walk is not None and self._at == (folder.tree.base, folder.number):
                self._most = min(2 * self._most, MOST)  # as expected, only sooner
            else:
                self._most = 1
                self._start(folder, page)
        self._now = key

    # --- what follows -------------------------------------------------------------------------------------

    def _start(self, folder: TreeFolder, page: TreePage | None) -> None:
        """Prepare what follows a page of a folder, and then what follows in the folders above it that are known."""
        number = folder.number
        self._levels = [x for x in self._levels if x.tree is folder.tree and x.number < number <= x.last]
        for level in self._levels:
            level.following = bisect_right(level.folders, number)
        self._walk = self._prepare(folder, page)

    def _prepare(self, folder: TreeFolder, page: TreePage | None) -> Generator[None, None, None]:
        """Prepare pages in the order of a walk, about one at each step."""
        if folder.subtree is not None and page is not None:
            first = _Level(folder.tree, folder.subtree, folder.number)
            self._note_folders(first, page)
            yield from self._pages(first, page.end, 0)
        while self._levels:
            level = self._levels[-1]
            if level.following == len(level.folders):
                self._levels.pop()
                continue
            number = level.folders[level.following]
            level.following += 1
            page = yield from self._page(level, number)
            subtree = page.subtree(bisect_left(page.numbers, number))
            if subtree is None:
                self._keep(level.tree, number, [])
                yield
            else:
                yield from self._pages(_Level(level.tree, subtree, number), number + 1, WHOLE)

    def _pages(self, level: _Level, number: int, room: int) -> Generator[None, None, None]:
        """Encode the pages of a folder from a number on, and if all fit into `room` (bytes), its answer."""
        self._at = level.tree.base, level.number
        pages = list[TreePage]()
        while number <= level.last:
            page = yield from self._page(level, number)
            self._note_folders(level, page)
            room -= len(encode(page, self._encoded).data)
            pages.append(page)
            if room < 0:
                self._order |= {(p.tree.base, p.first): 0 for p in pages}
                pages.clear()
            elif page.end - 1 == level.last:
                self._keep(level.tree, level.number, pages)
            yield
            number = max(page.end, number + 1)
        self._levels.append(level)

    def _note_folders(self, level: _Level, page: TreePage) -> None:
        if len(level.folders) + sum(len(above.folders) for above in self._levels) < FOLDERS:
            level.folders.extend([page.numbers[n] for n, e in enumerate(page.leaf.entries) if e.kind == _FOLDER])

    def _page(self, level: _Level, number: int) -> Generator[None, None, TreePage]:
        while True:
            try:
                return level.tree.page_with(level.subtree, level.number, number)
            except WouldWait as e:
                if e.at is not None and self._most >= SURE:
                    self._reader.decode_ahead(e.at)
            self._waits = True
            yield

    def _keep(self, tree: Tree, number: int, pages: list[TreePage]) -> None:
        """Make the answer of a folder, of which these are all pages, ready."""
        node_id, end = tree.base | number, FIRST_COOKIE
        dots = _DOTS.pack(node_id, 1, 1, _DIRECTORY, b".", node_id, FIRST_COOKIE, 2, _DIRECTORY, b"..")
        parts: list[Buffer] = [dots]
        node_ids, links = list[int](), list[tuple[int, int]]()
        for page in pages:
            e = encode(page, self._encoded)
            parts.append(e.data)
            node_ids += filter(None, e.node_ids)
            links += [(e.node_ids[n], page.numbers[n]) for n in e.links]
            end = page.numbers[-1] + FIRST_COOKIE
        key = (tree.base, pages[-1].first if pages else -number)
        self.ready[node_id] = Ready(parts, sum(map(len, parts)), end, node_ids, links, pages, key)
        self._order[key] = node_id


def encode(page: TreePage, kept: _Encoded) -> Encoded:
    """A page in the kernel's format, from those that are kept if it is there."""
    key = (page.tree.base, page.first)
    encoded = kept.get(key)
    if encoded is None:
        encoded = Encoded(page)
        kept.put(key, encoded)
    return encoded
