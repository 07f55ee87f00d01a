"""One recovery point as a tree of nodes."""

from __future__ import annotations

import stat
from bisect import bisect_right
from collections.abc import Iterator

from cache.memory import Lru
from cache.openfile import OpenFile
from cache.reader import Reader
from catalog.errors import Damaged, NotFound
from catalog.format.blocks import Buffer, PackKind
from catalog.format.packs import Extent
from catalog.format.pages import Entry, FolderIndex, Leaf, PieceIndex, PieceLeaf
from catalog.format.records import Point, PointName
from catalog.format.values import TYPE_BITS, NodeKind, OutOfLine, Paged, Piece, Subtree, Totals, Xattrs
from catalog.format.windows import Windows
from catalog.names import WINDOWS
from catalog.tree import ROOT_NUMBER, NumberedLeaf, allocated, leaves, page_with
from mount.view import acl, windows_xattrs
from mount.view.nodes import (
    LINK_BIT,
    Attributes,
    EntryPage,
    File,
    Folder,
    Link,
    Node,
    Origin,
    View,
    device_number,
    folder_attributes,
    no_such,
    shown_ids,
    shown_name,
)

_PAGES = 256  # decoded pages kept, of some 128 entries and 50 KB each
_INDEXES = 64


class Tree:
    """The tree of one point. `base` is added to the inode numbers of everything in it.

    `name` identifies the point among all points of the drive.
    """

    def __init__(self, reader: Reader, pages: Pages, point: Point, base: int = 0) -> None:
        self.reader = reader
        self.base = base
        self.name = PointName.of(point)
        self.point = point
        self._pages = pages
        self._top = point.root.subtree() if point.root else None

    @property
    def narrows(self) -> bool:
        """Whether modes keep out whom ACLs keep out (`View.narrow`)."""
        return self._pages.narrows

    def root(self) -> TreeFolder:
        """The root. It has no original, so the user who opened the drive owns it."""
        return TreeFolder(
            folder_attributes(self.base | ROOT_NUMBER, self.point.time), self, None, None, self._top, ROOT_NUMBER
        )

    def cached_page(self, first: int) -> TreePage | None:
        return self._pages.get(self.name, first)

    def page(self, folder: Subtree, number: int, name: bytes) -> TreePage:
        """The page that has a name, if the folder has it at all. Raises Damaged."""
        if folder.level == 0 and (page := self.cached_page(number + 1)) is not None:
            return page
        for numbered in leaves(self._pages, folder, number, start=name):
            return self._pages.add(self, numbered)
        raise Damaged("a folder has no pages")

    def all_pages(self, folder: Subtree | None, number: int) -> Iterator[TreePage]:
        for numbered in leaves(self._pages, folder, number):
            yield self._pages.add(self, numbered)

    def page_with(self, folder: Subtree, folder_number: int, number: int) -> TreePage:
        """The page of a folder whose range includes a number."""
        first = folder_number + 1
        if folder.level:
            at, first = page_with(self._pages, folder, folder_number, number)
        else:
            at = folder.at
        return self.cached_page(first) or self._pages.add(self, NumberedLeaf(self._pages.leaf(at), first))

    def place(self, number: int) -> tuple[list[bytes], TreePage, int]:
        """The entry of a number: the names on the path to it, its page, and its index there. Raises NotFound."""
        folder, folder_number, names = self._top, ROOT_NUMBER, []
        while folder is not None and folder_number < number <= folder_number + folder.totals.entries:
            page = self.page_with(folder, folder_number, number)
            n = bisect_right(page.numbers, number) - 1
            if n < 0:
                break
            names.append(page.names[n])
            if page.numbers[n] == number:
                return names, page, n
            entry = page.leaf.entries[n]
            if entry.kind != NodeKind.FOLDER:
                break
            folder, folder_number = page.leaf.subtree(entry), page.numbers[n]
        raise NotFound(f"this recovery point has no entry of the number {number}")

    def node(self, leaf: Leaf, e: Entry, number: int) -> Node:
        """The node of an entry, whose number in a walk of the point is `number`. Raises Damaged."""
        bits = TYPE_BITS.get(e.kind)
        if bits is None:
            raise Damaged(f"{shown_name(e.name)} is malformed, or of a kind unknown to this version of rpdrive")
        uid, gid = shown_ids(*leaf.owner(e)[:2])
        xattrs = leaf.xattrs(e)
        windows = leaf.windows(e)
        mode = e.mode & 0o7777
        if self.narrows and xattrs:
            mode = acl.narrowed(mode, xattrs.get(acl.ACCESS))
        shape = Attributes(
            self.inode(e, number), bits | mode, uid, gid,
            e.mtime, e.ctime, e.size, 0, e.nlink,
        )  # fmt: skip
        if e.kind == NodeKind.FILE:
            content = leaf.pieces(e)
            # Rounded to 4 KiB, the allocation of most file systems, so that du agrees with the source.
            shape = shape._replace(blocks=((allocated(content) + 4095) >> 12) * 8)
            return TreeFile(shape, self, xattrs, windows, content)
        if e.kind == NodeKind.FOLDER:
            # One link means "unknown" to find and fts: to count subfolders would take a walk.
            shape = shape._replace(blocks=(e.size + 511) >> 9, nlink=1)
            return TreeFolder(shape, self, xattrs, windows, leaf.subtree(e), number)
        if e.kind == NodeKind.SYMLINK:
            if not isinstance(e.content, bytes):
                raise Damaged(f"the link {shown_name(e.name)} has no target")
            return TreeLink(shape._replace(size=len(e.content)), self, xattrs, windows, e.content)
        if e.kind in (NodeKind.CHAR_DEVICE, NodeKind.BLOCK_DEVICE):
            try:
                shape = shape._replace(rdev=device_number(*e.content))
            except (TypeError, ValueError, OverflowError) as error:
                raise Damaged(f"the device {shown_name(e.name)} has no number") from error
        return _InTree(shape, self, xattrs, windows)

    def inode(self, entry: Entry, number: int) -> int:
        """The inode number, the same at every mount; all links to one file share it."""
        return self.base | (LINK_BIT | entry.link if entry.link else number)


class TreePage(EntryPage):
    """A page of a folder in a point."""

    __slots__ = ("_places", "_subtrees", "first", "leaf", "names", "numbers", "tree")

    def __init__(self, tree: Tree, numbered: NumberedLeaf) -> None:
        self.leaf = numbered.leaf
        self.first = numbered.first_number
        self.numbers = numbered.numbers()
        self.names = [e.name for e in self.leaf.entries]
        self._places: dict[bytes, int] | None = None
        self._subtrees: dict[int, Subtree | None] = {}
        self.tree = tree

    def kind(self, n: int) -> tuple[int, int]:
        entry = self.leaf.entries[n]
        return self.tree.inode(entry, self.numbers[n]), TYPE_BITS.get(entry.kind, 0)

    def node(self, n: int) -> Node:
        return self.tree.node(self.leaf, self.leaf.entries[n], self.numbers[n])

    def index(self, name: bytes) -> int | None:
        if self._places is None:  # a walk needs none
            self._places = {name: n for n, name in enumerate(self.names)}
        return self._places.get(name)

    def subtree(self, n: int) -> Subtree | None:
        """The pages of the n-th entry, which is a folder; None if it is empty. Raises Damaged."""
        if n not in self._subtrees:
            self._subtrees[n] = self.leaf.subtree(self.leaf.entries[n])
        return self._subtrees[n]

    @property
    def end(self) -> int:
        """The number after those of the page's entries and of everything below them."""
        return self.numbers[-1] + self.leaf.entries_in(self.leaf.entries[-1])


class Pages:
    """The most recently used decoded pages, of all points of a drive. A PageSource in front of the reader."""

    def __init__(self, reader: Reader) -> None:
        self.narrows = False
        self._reader = reader
        self._pages: Lru[tuple[PointName, int], TreePage] = Lru(_PAGES)
        self._indexes: Lru[Extent, FolderIndex] = Lru(_INDEXES)

    def get(self, point: PointName, first: int) -> TreePage | None:
        """The page of a point whose first entry has the number `first`: no two pages of a point share it."""
        return self._pages.get((point, first))

    def add(self, tree: Tree, numbered: NumberedLeaf) -> TreePage:
        key = (tree.name, numbered.first_number)
        page = self._pages.get(key)
        if page is None:
            page = TreePage(tree, numbered)
            self._pages.put(key, page)
        return page

    def leaf(self, at: Extent) -> Leaf:
        return self._reader.leaf(at)

    def folder_index(self, at: Extent) -> FolderIndex:
        index = self._indexes.get(at)
        if index is None:
            index = self._reader.folder_index(at)
            self._indexes.put(at, index)
        return index

    def piece_leaf(self, at: Extent) -> PieceLeaf:
        return self._reader.piece_leaf(at)

    def piece_index(self, at: Extent) -> PieceIndex:
        return self._reader.piece_index(at)


class _InTree(Node):
    """A node of a point: a FIFO, a device or a socket, and the base of the others."""

    __slots__ = ("_windows", "_xattrs", "tree")

    def __init__(self, attributes: Attributes, tree: Tree, xattrs: Xattrs | None, windows: Windows | None) -> None:
        self.attributes = attributes
        self.tree = tree
        self._xattrs = xattrs
        self._windows = windows

    def xattr_names(self) -> list[bytes]:
        names = list(self._xattrs) if self._xattrs else []
        if self._windows is None:
            return names
        return names + windows_xattrs.names(self._windows, is_link=stat.S_ISLNK(self.attributes.mode))

    def xattr(self, name: bytes) -> Buffer | None:
        value = self._xattrs.get(name) if self._xattrs else None
        if isinstance(value, OutOfLine):
            return self.tree.reader.chunk(PackKind.TREE, value.at)
        return value if value is not None or self._windows is None else windows_xattrs.value(self, name)

    @property
    def windows(self) -> Windows | None:
        known = self._windows
        if known is not None and any(isinstance(v, OutOfLine) for v in known.values()):
            chunk = self.tree.reader.chunk
            known = self._windows = known.fetched(lambda at: bytes(chunk(PackKind.TREE, at)))
        return known

    def stream(self, name: str) -> OpenFile:
        for s in self._windows.streams if self._windows is not None else ():
            if s.name == name:
                return self.tree.reader.open(s.content, s.size)
        return super().stream(name)


class TreeFolder(_InTree, Folder):
    __slots__ = ("_last", "number", "subtree")

    def __init__(
        self,
        attributes: Attributes,
        tree: Tree,
        xattrs: Xattrs | None,
        windows: Windows | None,
        subtree: Subtree | None,
        number: int,
    ) -> None:
        super().__init__(attributes, tree, xattrs, windows)
        self.subtree = subtree
        self.number = number
        # First and last name and first number of the page that answered last: most often it answers the next
        # lookup, too. Not the page itself, so that a table of folders doesn't keep pages alive.
        self._last: tuple[bytes, bytes, int] | None = None

    def lookup(self, name: bytes) -> Node:
        found = self.find(name)
        if found is None:
            raise no_such(name)
        page, n = found
        return page.node(n)

    def find(self, name: bytes) -> tuple[TreePage, int] | None:
        """The entry of exactly that name: its page, and its index there."""
        if self.subtree is None:
            return None
        last, page = self._last, None
        if last is not None and last[0] <= name <= last[1]:
            page = self.tree.cached_page(last[2])
        if page is None:
            page = self.tree.page(self.subtree, self.number, name)
            if page.names:
                self._last = (page.names[0], page.names[-1], page.first)
        n = page.index(name)
        return None if n is None else (page, n)

    def after(self, number: int) -> tuple[TreePage, int] | None:
        """The first entry with a greater number: its page, and its index there. Raises Damaged."""
        folder = self.subtree
        number = max(number, self.number)
        last = self.number + folder.totals.entries if folder is not None else 0
        while folder is not None and number < last:
            page = self.tree.page_with(folder, self.number, number + 1)
            n = bisect_right(page.numbers, number)
            if n < len(page.numbers):
                return page, n
            if page.end - 1 <= number:
                raise Damaged("the totals of a folder differ from those of its pages")
            number = page.end - 1
        return None

    def pages(self) -> Iterator[EntryPage]:
        return self.tree.all_pages(self.subtree, self.number)

    @property
    def made_on(self) -> str:
        return self.tree.point.system

    @property
    def distinct(self) -> bool:
        return self.tree.point.distinct_names


class TreeFile(_InTree, File):
    __slots__ = ("_content",)

    def __init__(
        self,
        attributes: Attributes,
        tree: Tree,
        xattrs: Xattrs | None,
        windows: Windows | None,
        content: list[Piece] | Paged,
    ) -> None:
        super().__init__(attributes, tree, xattrs, windows)
        self._content = content

    def open(self) -> OpenFile:
        return self.tree.reader.open(self._content, self.attributes.size)


class TreeLink(_InTree, Link):
    __slots__ = ("target",)

    def __init__(
        self, attributes: Attributes, tree: Tree, xattrs: Xattrs | None, windows: Windows | None, target: bytes
    ) -> None:
        super().__init__(attributes, tree, xattrs, windows)
        self.target = target


class PointView(View):
    """A drive of one point, whose root is the drive's root. It never changes."""

    changes = False

    def __init__(self, reader: Reader, point: Point) -> None:
        self.folds = point.distinct_names
        self.point = point
        self.has_births = records_births(point.system)
        self._pages = Pages(reader)
        self.root = Tree(reader, self._pages, point).root()

    def narrow(self) -> None:
        self._pages.narrows = True

    def origin(self, path: bytes) -> Origin:
        return Origin(self.point, path)

    def totals(self) -> Totals:
        return self.point.totals

    def has_xattrs(self) -> bool:
        return super().has_xattrs() or self.point.system == WINDOWS


def records_births(system: str) -> bool:
    """Whether a backup on this system records when files were created."""
    return system == WINDOWS
