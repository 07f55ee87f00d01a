"""`.versions`: the tree of an item over its points, in which a file is a folder of its versions.

Its folders are those of the item's points, and have every name that any point has there. A file (or a symlink, a
device) is a folder, too: it has each distinct content of the file, named by the date of the first point with it
and the file's extension, so that names sort by age. Nothing is read before a folder is used, and pages that points
share are read once. New points bring new versions; the meaning of a name below `.versions` never changes.

Each point costs a request for its record, and one for what differs in its tree: `.versions` is over the newest
RECENT points, so that it is there in seconds. Where an item has more, `.all-versions` beside it is over all.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

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
    Version,
    distinct,
    first,
    folder_strands,
    last,
    lookup,
    root_strands,
)
from catalog.history.variants import Variant
from catalog.points.opening import read_points
from mount.view.acl import ACCESS, narrowed
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
ALL_VERSIONS = b".all-versions"
RECENT = 1000  # points that `.versions` is over
_PAGE = 128  # names of a folder in one page
_RECENT = 32  # pages kept for the lookups that follow a listing,
_RECENT_COST = 8192  # and the variants in them, some 1 KB each
_KEPT = 4 << 20  # bytes of contents of paths
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


class _Points:
    """The points of an item as they are listed now, and what was made from them. Never changed.

    Bit n of a set of points is the n-th of them, so nothing that holds such sets outlives this.
    """

    def __init__(self, names: dict[bytes, PointName]) -> None:
        self.folders = names  # by date
        self.lock = threading.Lock()
        self.roots: list[Strand] | None = None  # None until `.versions` is used
        self.dates: list[bytes] = []
        self.tree: Tree | None = None
        self.kept: Lru[bytes, _Contents] = Lru(_KEPT, lambda contents: contents.cost)
        self.recent: tuple[_NamePage, ...] = ()

    @property
    def newest(self) -> int:
        return max((name.time for name in self.folders.values()), default=0)

    def date(self, version: Version) -> bytes:
        """The date of the first point that has a version, as in its folder's name."""
        return self.dates[first(version.points)]


class _Contents(NamedTuple):
    """What points have below a path, and its versions where it is no folder, by their names."""

    strands: list[Strand]
    versions: dict[bytes, Version]

    @property
    def cost(self) -> int:
        """Approximate size in bytes."""
        width = max((s.points.bit_length() for s in self.strands), default=0)
        width = max(width, *(v.points.bit_length() for v in self.versions.values()), 0)
        return 400 + (len(self.strands) + 3 * len(self.versions)) * (600 + width // 4)


class History:
    """`.versions` of one item, as long as a drive is open. Thread-safe.

    `list_folders` returns the points by date; `renew` asks for them again. `key` (the item and its machine) and
    `secret` (16 bytes) say which numbers its folders and files have.
    """

    def __init__(
        self,
        vault: Vault,
        reader: Reader,
        pages: Pages,
        list_folders: Callable[[], dict[bytes, PointName]],
        key: bytes,
        secret: bytes,
    ) -> None:
        self._pages = pages
        self.source = PrefetchingSource(reader)
        self._vault = vault
        self._reader = reader
        self._secret = secret
        self._item = key
        self._list_folders = list_folders
        self._now: _Points | None = None
        self._newest = 0

    @property
    def size(self) -> int:
        """How many points it holds something for."""
        now = self._now
        return len(now.folders) if now is not None else 0

    def renew(self) -> _Points:
        """Show the points that are listed now, from now on."""
        folders, now = self._list_folders(), self._now
        if now is None or folders != now.folders:
            now = self._now = _Points(folders)
            self._newest = now.newest
        return now

    def let_go(self) -> None:
        """Free what was made from the points; it is made again when it is used."""
        self._now = None

    def root(self) -> PathFolder:
        """The folder `.versions`. No request."""
        return PathFolder(self, b"", self.attributes())

    def points(self) -> _Points:
        """The points now. 1 request for each record not seen before; unreadable points are left out."""
        now = self._now or self.renew()
        with now.lock:
            if now.roots is None:
                now.roots = self._read(now)
        return now

    def _read(self, now: _Points) -> list[Strand]:
        points, damaged = read_points(self._vault, list(now.folders.values()))
        for error in damaged:
            _log.warning("left out of %s: %s", VERSIONS.decode(), error)
        points.sort(key=lambda p: (p.sequence, p.time, p.id))
        dates = {name: date for date, name in now.folders.items()}
        now.dates = [dates[PointName.of(p)] for p in points]
        if points:  # only the tree's reader and pages are used, which all points share
            now.tree = Tree(self._reader, self._pages, points[-1])
        return root_strands(points)

    def attributes(self) -> Attributes:
        """The attributes of `.versions` itself. No request."""
        return folder_attributes(self.inode(b""), self._newest)

    @property
    def made_on(self) -> str:
        """The system of the newest point."""
        tree = self.points().tree
        return tree.point.system if tree is not None else ""

    def inode(self, path: bytes, date: bytes = b"") -> int:
        """An inode number, the same as long as the drive is open: distinct from all numbers in points.

        62 bits of a keyed hash. A table of the numbers that are taken would grow with everything that was listed.
        """
        text = b"%b%b\0%b" % (self._item, path, date)
        digest = hashlib.blake2b(text, key=self._secret, digest_size=8).digest()
        base = int.from_bytes(digest[:4]) & 0x7FFFFFFF or 1
        return base << POINT_SHIFT | _OWN_BITS | int.from_bytes(digest[4:8]) >> 1

    # --- paths --------------------------------------------------------------------------------------------

    def contents(self, points: _Points, path: bytes) -> _Contents | None:
        """What is at a path; None if no point has it."""
        known = points.kept.get(path)
        if known is not None:
            return known
        here, contents = b"", _Contents(points.roots or [], {})
        for name in path.split(b"/")[1:]:
            here += b"/" + name
            known = points.kept.get(here)
            if known is None:
                variants = self._variants(points, here, contents)
                if not variants:
                    return None
                known = self._keep(points, here, variants)
            contents = known
        return contents

    def _keep(self, points: _Points, path: bytes, variants: list[Variant]) -> _Contents:
        extension = extension_of(path.rpartition(b"/")[2])
        versions = distinct(v for v in variants if v.entry.kind != NodeKind.FOLDER)
        contents = _Contents(folder_strands(variants), {points.date(v) + extension: v for v in versions})
        points.kept.put(path, contents)
        return contents

    def _variants(self, points: _Points, path: bytes, above: _Contents) -> list[Variant]:
        """What points have at a path, in the folder with the contents `above`."""
        folder, _, name = path.rpartition(b"/")
        for page in points.recent:
            if page.path == folder and page.names[0] <= name <= page.names[-1]:
                return page.variants(name)
        return lookup(self.source, above.strands, name)

    def below(self, points: _Points, path: bytes, name: bytes) -> PathFolder | None:
        """The folder of a name in the folder at a path; None if no point has that name there."""
        above, path = self.contents(points, path), path + b"/" + name
        variants = self._variants(points, path, above) if above is not None else []
        return self.folder(path, variants) if variants else None

    def folder(self, path: bytes, variants: list[Variant]) -> PathFolder:
        """The folder at a path that has these variants."""
        return PathFolder(self, path, self._shape(path, variants))

    def origin(self, path: bytes) -> Origin | None:
        """The first point with the version at a path in `.versions`. None if it is a folder. Raises NotFound."""
        points = self.points()
        folder, _, name = path.rpartition(b"/")
        folder = folder.strip(b"/")
        above = b"/" + folder if folder else b""
        contents = self.contents(points, above)
        if contents is None:
            raise no_such(path)
        if not name or self.below(points, above, name) is not None:
            return None
        version = contents.versions.get(name)
        if version is None:
            raise no_such(name)
        return Origin(self._vault.point(points.folders[points.date(version)]), folder)

    def remember(self, points: _Points, page: _NamePage) -> None:
        """Keep a page that is being listed: lookups of its names are likely."""
        recent, cost = [page], page.cost
        for other in points.recent[: _RECENT - 1]:
            cost += other.cost
            if cost > _RECENT_COST:
                break
            recent.append(other)
        points.recent = tuple(recent)

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
            # The folder shown has no ACL, so its mode must keep out whom an ACL keeps out.
            mode &= narrowed(v.entry.mode, (v.leaf.xattrs(v.entry) or {}).get(ACCESS))
            if theirs.gid != owner.gid:
                mode &= 0o707
            if theirs.uid != owner.uid:
                owner, mode = owner._replace(uid=shown_ids(-1, -1)[0]), mode & 0o755
        return shape._replace(mode=stat.S_IFDIR | mode, uid=owner.uid, gid=owner.gid)

    def version(self, points: _Points, path: bytes, date: bytes, version: Version) -> Node:
        """The node of a version, with the attributes in the first point that has it. It has no hard links."""
        assert points.tree is not None
        node = points.tree.node(version.variant.leaf, version.variant.entry, 0)
        node.attributes = node.attributes._replace(inode=self.inode(path, date), nlink=1)
        return node


class PathFolder(Folder):
    """A path in `.versions`: what points have below it, and its versions where it is no folder.

    Only the path is in it: a driver keeps a node for as long as the system knows it.
    """

    __slots__ = ("_history", "_path")
    changes = True

    def __init__(self, history: History, path: bytes, attributes: Attributes) -> None:
        super().__init__(attributes)
        self._history = history
        self._path = path

    @property
    def made_on(self) -> str:
        return self._history.made_on

    def lookup(self, name: bytes) -> Node:
        history = self._history
        points = history.points()
        below = history.below(points, self._path, name)
        if below is not None:
            return below
        contents = history.contents(points, self._path)
        version = contents.versions.get(name) if contents is not None else None
        if version is None:
            raise no_such(name)
        return history.version(points, self._path, name, version)

    def pages(self) -> Iterator[EntryPage]:
        history = self._history
        points = history.points()
        contents = history.contents(points, self._path)
        if contents is None:
            return
        below = iter(Overlay(history.source, contents.strands))
        while some := list(islice(below, _PAGE)):
            page = _NamePage(history, self._path, some)
            history.remember(points, page)
            yield page
        # Except a version whose name a point's folder has, too: a lookup finds the latter.
        dates = {
            name: v
            for name, v in contents.versions.items()
            if not (contents.strands and lookup(history.source, contents.strands, name))
        }
        if dates:
            yield _VersionPage(history, points, self._path, dates)


class _NamePage(EntryPage):
    """Neighbouring names of a path."""

    __slots__ = ("_history", "_places", "_variants", "cost", "names", "path")

    def __init__(self, history: History, path: bytes, some: list[tuple[bytes, list[Variant]]]) -> None:
        self.path = path
        self.names = [name for name, _variants in some]
        self.cost = sum(len(variants) for _name, variants in some)
        self._places = {name: n for n, name in enumerate(self.names)}
        self._variants = [variants for _name, variants in some]
        self._history = history

    def kind(self, n: int) -> tuple[int, int]:
        return self._history.inode(self.path + b"/" + self.names[n]), stat.S_IFDIR

    def node(self, n: int) -> Node:
        return self._history.folder(self.path + b"/" + self.names[n], self._variants[n])

    def variants(self, name: bytes) -> list[Variant]:
        n = self._places.get(name)
        return [] if n is None else self._variants[n]


class _VersionPage(EntryPage):
    """The versions of a path, by date."""

    __slots__ = ("_nodes", "names")

    def __init__(self, history: History, points: _Points, path: bytes, versions: dict[bytes, Version]) -> None:
        self.names = list(versions)
        self._nodes = [history.version(points, path, date, version) for date, version in versions.items()]

    def kind(self, n: int) -> tuple[int, int]:
        attributes = self._nodes[n].attributes
        return attributes.inode, stat.S_IFMT(attributes.mode)

    def node(self, n: int) -> Node:
        return self._nodes[n]


def extension_of(name: bytes) -> bytes:
    """The part of a name that shows a file's type: `.txt`, `.tar.gz`; empty for `.bashrc` or `Dr. No`."""
    stem, extension = os.path.splitext(name)
    if not extension or len(extension) > _EXTENSION or b" " in extension:
        return b""
    inner = os.path.splitext(stem)[1]
    return inner + extension if inner == b".tar" else extension
