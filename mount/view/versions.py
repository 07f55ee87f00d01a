"""`.versions`: the tree of an item over all its points, in which a file is a folder of its versions.

Its folders are those of the item's points, and have every name that any point has there. A file (or a symlink, a
device) is a folder, too: it has each distinct content of the file, named by the date of the first point with it
and the file's extension, so that names sort by age. Nothing is read before a folder is used, and pages that points
share are read once. New points bring new versions; the meaning of a name below `.versions` never changes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

from cache.memory import Lru
from cache.reader import Reader
from catalog.errors import RpdriveError
from catalog.format.blocks import PackKind
from catalog.format.packs import Extent
from catalog.format.pages import FolderIndex, Leaf, PieceIndex, PieceLeaf
from catalog.format.records import PointName
from catalog.format.values import NodeKind
from catalog.history.overlay import (
    Overlay,
    Strand,
    Variant,
    Version,
    distinct,
    first,
    folder_strands,
    last,
    lookup,
    root_strands,
)
from catalog.points.choice import read_points
from mount.view.nodes import (
    LINK_BIT,
    POINT_SHIFT,
    Attributes,
    EntryPage,
    Folder,
    Node,
    Origin,
    folder_attributes,
    no_such,
    shown_ids,
)
from mount.view.point import Pages, Tree

if TYPE_CHECKING:
    from catalog.vault import Vault

VERSIONS = b".versions"
_PAGE = 128  # names of a folder in one page
_RECENT = 64  # pages kept for the lookups that follow a listing,
_RECENT_LEAVES = 512  # and the decoded pages of trees in them, some 50 KB each
_KEPT = 50_000  # strands and versions in the folders kept, less than 1 KB each
_PARALLEL = 8  # requests at once
_READY = 4096  # blocks remembered as fetched
_EXTENSION = 20  # bytes; a longer one is part of the name
_OWN_BITS = LINK_BIT | 1 << 31  # set in inode numbers: no point has so many files with several links
_log = logging.getLogger(__name__)


class PrefetchingSource:
    """Pages from the reader; fetches several blocks at a time if many are needed."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._seen: Lru[tuple[bytes, int], bool] = Lru(_READY)

    def leaf(self, at: Extent) -> Leaf:
        return self._reader.leaf(at)

    def folder_index(self, at: Extent) -> FolderIndex:
        return self._reader.folder_index(at)

    def piece_leaf(self, at: Extent) -> PieceLeaf:
        return self._reader.piece_leaf(at)

    def piece_index(self, at: Extent) -> PieceIndex:
        return self._reader.piece_index(at)

    def ready(self, pages: Sequence[Extent]) -> None:
        """Fetch pages that were not fetched recently. Errors are left to the read of the page."""
        missing = {(at.pack, at.offset): at for at in pages if (at.pack, at.offset) not in self._seen}
        for place in missing:
            self._seen.put(place, True)
        if len(missing) > 1:
            with ThreadPoolExecutor(min(_PARALLEL, len(missing)), "versions") as pool:
                list(pool.map(self._fetch, missing.values()))

    def _fetch(self, at: Extent) -> None:
        try:
            self._reader.chunk(PackKind.TREE, at)
        except RpdriveError:
            self._seen.pop((at.pack, at.offset))


class History:
    """The points of one item, and the folders of `.versions` made from them. `folders` are the points by date.

    `secret` (16 bytes) is the same for all histories of a drive. It serves until a point is added or removed.
    Thread-safe.
    """

    def __init__(self, vault: Vault, reader: Reader, folders: dict[bytes, PointName], secret: bytes) -> None:
        self.folders = folders
        self._secret = secret
        self.names = list(folders.values())
        self.source = PrefetchingSource(reader)
        self._vault = vault
        self._reader = reader
        self._lock = threading.Lock()
        self._kept: Lru[bytes, PathFolder] = Lru(_KEPT, lambda folder: folder.cost)
        self._recent: tuple[_NamePage, ...] = ()
        self._dates: list[bytes] = []
        self._tree: Tree | None = None
        self._root: PathFolder | None = None

    def root(self) -> PathFolder:
        """The folder `.versions`. 1 request for each record not seen before; unreadable points are left out."""
        with self._lock:
            if self._root is None:
                self._root = self._read()
        return self._root

    def _read(self) -> PathFolder:
        points, damaged = read_points(self._vault, self.names)
        for error in damaged:
            _log.warning("left out of %s: %s", VERSIONS.decode(), error)
        points.sort(key=lambda p: (p.sequence, p.time, p.id))
        dates = {name: date for date, name in self.folders.items()}
        self._dates = [dates[PointName.of(p)] for p in points]
        if points:  # only the tree's reader is used, which all points share
            self._tree = Tree(self._reader, Pages(self._reader), points[-1])
        return PathFolder(self, b"", self.attributes(), root_strands(points), [])

    def _newest(self) -> int:
        return max((name.time for name in self.names), default=0)

    def attributes(self) -> Attributes:
        """The attributes of `.versions` itself. No request."""
        return folder_attributes(self.inode(b""), self._newest())

    @property
    def made_on(self) -> str:
        """The system of the newest point."""
        return self._tree.point.system if self._tree is not None else ""

    def inode(self, path: bytes, date: bytes = b"") -> int:
        """An inode number, the same as long as the drive is open: distinct from all numbers in points.

        62 bits of a keyed hash. A table of the numbers that are taken would grow with everything that was listed.
        """
        name = self.names[0] if self.names else None
        item = name.machine + name.item if name else b""
        digest = hashlib.blake2b(b"%b%b\0%b" % (item, path, date), key=self._secret, digest_size=8).digest()
        base = int.from_bytes(digest[:4]) & 0x7FFFFFFF or 1
        return base << POINT_SHIFT | _OWN_BITS | int.from_bytes(digest[4:8]) >> 1

    def folder(self, path: bytes, variants: list[Variant]) -> PathFolder:
        """The folder at a path that has these variants."""
        known = self._kept.get(path)
        if known is None:
            versions = distinct(v for v in variants if v.entry.kind != NodeKind.FOLDER)
            alone = [Version(v.points, _alone(v.variant)) for v in versions]
            known = PathFolder(self, path, self._shape(path, variants), folder_strands(variants), alone)
            self._kept.put(path, known)
        return known

    def origin(self, path: bytes) -> Origin | None:
        """The first point with the version at a path in `.versions`. None if it is a folder. Raises NotFound."""
        folder, _, name = path.rpartition(b"/")
        node: Node = self.root()
        for part in filter(None, folder.split(b"/")):
            if not isinstance(node, PathFolder):
                raise no_such(part)
            node = node.lookup(part)
        if not name:
            return None
        if not isinstance(node, PathFolder):
            raise no_such(name)
        version = node.version(name)
        return None if version is None else Origin(self._vault.point(self.folders[self.date(version)]), node.path)

    def known(self, path: bytes) -> PathFolder | None:
        """The folder at a path, if it is cached."""
        return self._kept.get(path)

    def remember(self, page: _NamePage) -> None:
        """Keep a page that is being listed: lookups of its names are likely."""
        recent, leaves = [page], page.leaves
        for other in self._recent[: _RECENT - 1]:
            leaves += other.leaves
            if leaves > _RECENT_LEAVES:
                break
            recent.append(other)
        self._recent = tuple(recent)

    def listed(self, path: bytes, name: bytes) -> _NamePage | None:
        """The page that would have a name of a path, if it was listed recently."""
        for page in self._recent:
            if page.path == path and page.names[0] <= name <= page.names[-1]:
                return page
        return None

    def _shape(self, path: bytes, variants: list[Variant]) -> Attributes:
        """Attributes of the newest point's folder, but without permissions that any point denies."""
        folders = [v for v in variants if v.entry.kind == NodeKind.FOLDER]
        newest = max(variants, key=lambda v: last(v.points))
        shape = folder_attributes(self.inode(path), newest.entry.mtime)._replace(ctime=newest.entry.ctime)
        if not folders:
            return shape  # each version of a file has its own owner and mode
        newest = max(folders, key=lambda v: last(v.points))
        owner = newest.leaf.owner(newest.entry)
        mode = 0o777
        for v in folders:
            theirs = v.leaf.owner(v.entry)
            mode &= v.entry.mode
            if theirs.gid != owner.gid:
                mode &= 0o707
            if theirs.uid != owner.uid:
                owner, mode = owner._replace(uid=shown_ids(-1, -1)[0]), mode & 0o755
        return shape._replace(mode=stat.S_IFDIR | mode, uid=owner.uid, gid=owner.gid)

    def version(self, path: bytes, date: bytes, version: Version) -> Node:
        """The node of a version, with the attributes in the first point that has it. It has no hard links."""
        assert self._tree is not None
        node = self._tree.node(version.variant.leaf, version.variant.entry, 0)
        node.attributes = node.attributes._replace(inode=self.inode(path, date), nlink=1)
        return node

    def date(self, version: Version) -> bytes:
        """The date of the first point that has a version, as in its folder's name."""
        return self._dates[first(version.points)]


class PathFolder(Folder):
    """A path in `.versions`: what points have below it, and its versions where it is no folder."""

    __slots__ = ("_history", "_path", "_strands", "_versions")
    changes = True

    def __init__(
        self,
        history: History,
        path: bytes,
        attributes: Attributes,
        strands: Sequence[Strand],
        versions: Sequence[Version],
    ) -> None:
        super().__init__(attributes)
        self._history = history
        self._path = path
        self._strands = strands
        extension = extension_of(path.rpartition(b"/")[2])
        self._versions = {history.date(v) + extension: v for v in versions}

    @property
    def made_on(self) -> str:
        return self._history.made_on

    @property
    def cost(self) -> int:
        return 1 + len(self._strands) + len(self._versions)

    def lookup(self, name: bytes) -> Node:
        page = self._history.listed(self._path, name)
        below = page.find(name) if page is not None else self._below(name)
        if below is not None:
            return below
        version = self._versions.get(name)
        if version is None:
            raise no_such(name)
        return self._history.version(self._path, name, version)

    @property
    def path(self) -> bytes:
        """The path in the points, from their roots."""
        return self._path.lstrip(b"/")

    def version(self, name: bytes) -> Version | None:
        """The version of that name; None if the name is a folder's. Raises NotFound."""
        if self._below(name) is not None:
            return None
        version = self._versions.get(name)
        if version is None:
            raise no_such(name)
        return version

    def _below(self, name: bytes) -> Node | None:
        path = self._path + b"/" + name
        known = self._history.known(path)
        if known is not None:
            return known
        variants = lookup(self._history.source, self._strands, name)
        return self._history.folder(path, variants) if variants else None

    def pages(self) -> Iterator[EntryPage]:
        if self._strands:
            below = iter(Overlay(self._history.source, self._strands))
            while some := list(islice(below, _PAGE)):
                page = _NamePage(self._history, self._path, some)
                self._history.remember(page)
                yield page
        dates = self._dates()
        if dates:
            yield _VersionPage(self._history, self._path, dates)

    def _dates(self) -> dict[bytes, Version]:
        """The versions, except one whose name a point's folder has, too: a lookup finds the latter."""
        if not self._strands:
            return self._versions
        source = self._history.source
        return {name: v for name, v in self._versions.items() if not lookup(source, self._strands, name)}


class _NamePage(EntryPage):
    """Neighbouring names of a path."""

    __slots__ = ("_history", "_places", "_variants", "leaves", "names", "path")

    def __init__(self, history: History, path: bytes, some: list[tuple[bytes, list[Variant]]]) -> None:
        self.path = path
        self.names = [name for name, _variants in some]
        self.leaves = len({id(v.leaf) for _name, variants in some for v in variants})
        self._places = {name: n for n, name in enumerate(self.names)}
        self._variants = [variants for _name, variants in some]
        self._history = history

    def kind(self, n: int) -> tuple[int, int]:
        return self._history.inode(self.path + b"/" + self.names[n]), stat.S_IFDIR

    def node(self, n: int) -> Node:
        return self._history.folder(self.path + b"/" + self.names[n], self._variants[n])

    def find(self, name: bytes) -> Node | None:
        n = self._places.get(name)
        return None if n is None else self.node(n)


class _VersionPage(EntryPage):
    """The versions of a path, by date."""

    __slots__ = ("_nodes", "names")

    def __init__(self, history: History, path: bytes, versions: dict[bytes, Version]) -> None:
        self.names = list(versions)
        self._nodes = [history.version(path, date, version) for date, version in versions.items()]

    def kind(self, n: int) -> tuple[int, int]:
        attributes = self._nodes[n].attributes
        return attributes.inode, stat.S_IFMT(attributes.mode)

    def node(self, n: int) -> Node:
        return self._nodes[n]


class VersionsFolder(Folder):
    """`.versions` in the folder of an item: its contents are read only when it is used."""

    __slots__ = ("_history",)
    changes = True

    def __init__(self, history: History) -> None:
        super().__init__(history.attributes())
        self._history = history

    def lookup(self, name: bytes) -> Node:
        return self._history.root().lookup(name)

    def pages(self) -> Iterator[EntryPage]:
        return self._history.root().pages()

    @property
    def made_on(self) -> str:
        return self._history.root().made_on


def _alone(v: Variant) -> Variant:
    """The same without its neighbours in the page, so that little memory is kept."""
    leaf = Leaf(v.leaf.packs, v.leaf.owners, v.leaf.sets, [v.entry], v.leaf.home)
    return v._replace(leaf=leaf)


def extension_of(name: bytes) -> bytes:
    """The part of a name that shows a file's type: `.txt`, `.tar.gz`; empty for `.bashrc` or `Dr. No`."""
    stem, extension = os.path.splitext(name)
    if not extension or len(extension) > _EXTENSION or b" " in extension:
        return b""
    inner = os.path.splitext(stem)[1]
    return inner + extension if inner == b".tar" else extension
