"""Reads many points at once: merges the folders of their trees, page by page.

Points of one item share most pages, and equal pages have equal ids. Each id is kept with the *set* of points that
contain it, an int in which bit n represents the n-th point. So each page is read once, however many points share
it. A page's id covers the locations that it refers to: equal ids mean equal contents below, but different ids may
also mean equal contents (if a tree was rewritten). Therefore entries are compared by chunk ids.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from catalog.errors import Damaged, NewerFormat, RpdriveError
from catalog.format.keys import file_digest
from catalog.format.packs import Extent
from catalog.format.pages import Entry, FolderIndex, Leaf
from catalog.format.records import Point
from catalog.format.values import TYPE_BITS, Hole, NodeKind, Paged, Piece, Subtree
from catalog.format.windows import name_bytes
from catalog.history.variants import Merged, Variant, without_entries
from catalog.names import is_marked, meant, shows_as
from catalog.tree import PageSource, check_level

AHEAD = 16  # pages of a folder that are fetched together

Lost = Callable[[int, RpdriveError], None]  # told which points lack a part of a folder, and why


class BatchSource(PageSource, Protocol):
    """A PageSource that can fetch several pages at a time."""

    def ready(self, pages: Sequence[Extent]) -> None:
        """Fetch those of the pages that are not cached. Raises nothing: reading the page raises the error."""
        ...


class Strand(NamedTuple):
    """A folder that is not empty, as the points of the set `points` have it."""

    points: int
    folder: Subtree


_Key = tuple[int, bytes]  # level and id of a page


class _Page(NamedTuple):
    points: int
    at: Extent


# --- sets of points -----------------------------------------------------------------------------------------


def numbers(points: int) -> Iterator[int]:
    """The numbers of the points in a set, ascending."""
    while points:
        lowest = points & -points
        yield lowest.bit_length() - 1
        points ^= lowest


def first(points: int) -> int:
    """The number of the first point in a set that is not empty."""
    return (points & -points).bit_length() - 1


def last(points: int) -> int:
    """The number of the last point in a set that is not empty."""
    return points.bit_length() - 1


def held(variants: Iterable[Variant]) -> int:
    """The points that contain any of these variants."""
    points = 0
    for variant in variants:
        points |= variant.points
    return points


# --- merged folders -------------------------------------------------------------------------------------------


def root_strands(points: Sequence[Point], lost: Lost | None = None) -> list[Strand]:
    """The roots of points; `points[n]` has number n. Raises Damaged, or tells `lost`."""
    roots: list[tuple[int, Subtree]] = []
    for n, point in enumerate(points):
        if point.root is None:
            continue
        try:
            folder = point.root.subtree()
            check_level(folder.level)
            roots.append((1 << n, folder))
        except Damaged as e:
            if lost is None:
                raise
            lost(1 << n, e)
    return _joined(roots)


def folder_strands(variants: Iterable[Variant], lost: Lost | None = None) -> list[Strand]:
    """The contents of those variants that are folders and not empty. Raises Damaged, or tells `lost`."""
    below: list[tuple[int, Subtree]] = []
    for v in variants:
        if v.entry.kind != NodeKind.FOLDER or v.entry.content is None:
            continue
        try:
            folder = v.leaf.subtree(v.entry)
            if folder is not None:
                check_level(folder.level)
                below.append((v.points, folder))
        except Damaged as e:
            if lost is None:
                raise
            lost(v.points, e)
    return _joined(below)


def _joined(strands: Iterable[tuple[int, Subtree]]) -> list[Strand]:
    found: dict[_Key, Strand] = {}
    for points, folder in strands:
        key = folder.level, folder.at.id
        known = found.get(key)
        found[key] = Strand(points | known.points, known.folder) if known else Strand(points, folder)
    return list(found.values())


def lookup(source: BatchSource, strands: Sequence[Strand], name: bytes, lost: Lost | None = None) -> list[Variant]:
    """The variants of a name in merged folders. Reads level by level, each page once.

    Damage raises, or, if there is `lost`, is told to it, and costs the points that have the page.
    """
    pages: dict[_Key, _Page] = {}
    for points, folder in strands:
        _add(pages, folder.level, points, folder.at)
    found = Merged()
    while pages:
        source.ready([page.at for page in pages.values()])
        below: dict[_Key, _Page] = {}
        for (level, _id), (points, at) in pages.items():
            try:
                if level:
                    index = source.folder_index(at)
                    n = bisect_right(index.children, name, key=lambda child: child.first) - 1
                    _add(below, level - 1, points, index.at(index.children[max(n, 0)]))
                    continue
                leaf = source.leaf(at)
            except (Damaged, NewerFormat) as e:
                if lost is None:
                    raise
                lost(points, e)
                continue
            n = bisect_left(leaf.entries, name, key=lambda entry: entry.name)
            if n < len(leaf.entries) and leaf.entries[n].name == name:
                found.add(points, leaf, leaf.entries[n : n + 1])
        pages = below
    return found.pop(name)


def lookup_meant(
    source: BatchSource, strands: Sequence[Strand], name: bytes, lost: Lost | None = None
) -> list[Variant]:
    """As `lookup`; if no folder has the name, it is interpreted as spelled on a Windows drive."""
    found = lookup(source, strands, name, lost)
    other = None if found else meant(name)
    if other is not None:
        found = lookup(source, strands, other, lost)
    if not found and is_marked(name):
        every = Overlay(source, strands, lost=lost)
        found = next((variants for true, variants in every if shows_as(true, name)), [])
    return found


class Followed(NamedTuple):
    """A path with its true names, its variants, and the folders there."""

    path: bytes
    variants: list[Variant]
    strands: list[Strand]


def follow(source: BatchSource, strands: list[Strand], path: bytes, lost: Lost | None = None) -> Followed:
    """Look up a path in merged folders, without following symlinks. Raises Damaged and StoreError.

    If there is `lost`, damage on the way is told to it, and costs the points that have it.
    """
    here, variants = b"", list[Variant]()
    for name in parts(path):
        variants = lookup_meant(source, strands, name, lost)
        strands = folder_strands(variants, lost)
        here += b"/" + (variants[0].entry.name if variants else name)
    return Followed(here, variants, strands)


def parts(path: bytes) -> list[bytes]:
    """The names of a path."""
    return [name for name in path.split(b"/") if name not in (b"", b".")]


def _add(pages: dict[_Key, _Page], level: int, points: int, at: Extent) -> bool:
    """Add points to a page. Returns whether the page is new."""
    known = pages.get((level, at.id))
    pages[level, at.id] = _Page(points, at) if known is None else _Page(points | known.points, known.at)
    return known is None


class Overlay:
    """Iterates over the names of merged folders, in order, each with its variants.

    Pages that exactly the points `skip` share are omitted, unread. Of a page, only what differs from the pages of
    other points is kept in memory (`Merged`), and only until its names are passed. A page that is damaged, or of a
    newer format, raises, or, if there is `lost`, is told to it and has no names.
    """

    def __init__(
        self, source: BatchSource, strands: Sequence[Strand], skip: int = 0, lost: Lost | None = None
    ) -> None:
        self._source = source
        self._skip = skip
        self._lost = lost
        # Pages to read, by their first name; with equal first names, higher levels come first. So a page is read
        # only after everything that could refer to it: its set of points is complete by then.
        self._order: list[tuple[bytes, int, bytes]] = []
        self._pages: dict[_Key, _Page] = {}
        self._alone: tuple[int, Leaf, int] | None = None  # the only page open, from one of its entries
        self._merged = Merged()
        self._names: list[bytes] = []  # those in `_merged`, a heap
        self._prepared = 0
        for points, folder in strands:
            self._expect(b"", folder.level, points, folder.at)

    def _expect(self, name: bytes, level: int, points: int, at: Extent) -> None:
        if _add(self._pages, level, points, at):
            heapq.heappush(self._order, (name, -level, at.id))

    def __iter__(self) -> Iterator[tuple[bytes, list[Variant]]]:
        while True:
            while self._order and self._may_be_next(self._order[0][0]):
                self._read_next()
            if self._alone is not None:
                yield from self._of_one_page(*self._alone)
            elif self._names:
                name = heapq.heappop(self._names)
                yield name, self._merged.pop(name)
            else:
                return

    def _may_be_next(self, name: bytes) -> bool:
        """Whether a page that begins with a name may have names up to the next one that is known."""
        if self._alone is not None:
            _points, leaf, place = self._alone
            return name <= leaf.entries[place].name
        return not self._names or name <= self._names[0]

    def _of_one_page(self, points: int, leaf: Leaf, place: int) -> Iterator[tuple[bytes, list[Variant]]]:
        """Iterate over the only open page, up to the first name of the next page."""
        border = self._order[0][0] if self._order else None
        self._alone, tables = None, without_entries(leaf)
        for n in range(place, len(leaf.entries)):
            entry = leaf.entries[n]
            if border is not None and entry.name >= border:
                self._alone = points, leaf, n
                return
            yield entry.name, [Variant(points, tables, entry)]

    def _read_next(self) -> None:
        if not self._prepared:
            self._prepare()
        self._prepared -= 1
        name, level, page_id = heapq.heappop(self._order)
        points, at = self._pages.pop((-level, page_id))
        if points == self._skip:
            return
        try:
            self._open(name, level, points, at)
        except (Damaged, NewerFormat) as e:
            if self._lost is None:
                raise
            self._lost(points, e)

    def _open(self, name: bytes, level: int, points: int, at: Extent) -> None:
        """Read a page that begins with a name, of this level (negative)."""
        if level:
            index: FolderIndex = self._source.folder_index(at)
            for child in index.children:
                # A first name below `name` would sort before names that were already returned.
                self._expect(max(child.first, name), -level - 1, points, index.at(child))
            return
        leaf = self._source.leaf(at)
        if not leaf.entries:  # of a source that leaves some out
            return
        if self._alone is None and not self._names:
            self._alone = points, leaf, 0
            return
        if self._alone is not None:
            other, page, place = self._alone
            self._alone = None
            self._merge(other, page, page.entries[place:])
        self._merge(points, leaf, leaf.entries)

    def _merge(self, points: int, leaf: Leaf, entries: Sequence[Entry]) -> None:
        for name in self._merged.add(points, leaf, entries):
            heapq.heappush(self._names, name)

    def _prepare(self) -> None:
        coming = heapq.nsmallest(AHEAD, self._order)
        pages = [self._pages[-level, page_id] for _name, level, page_id in coming]
        self._source.ready([page.at for page in pages if page.points != self._skip])
        self._prepared = len(coming)


def walk(
    source: BatchSource,
    strands: Sequence[Strand],
    path: bytes = b"",
    skip: int = 0,
    lost: Callable[[bytes, int, RpdriveError], None] | None = None,
    within: Callable[[bytes], BatchSource] | None = None,
) -> Iterator[tuple[bytes, list[Variant]]]:
    """Every path below merged folders, with its variants; a folder comes before its contents.

    `within`, if given, is a source for each folder, by its path, which may leave out entries that nobody wants.
    Pages that exactly the points `skip` share are omitted. Damage raises, or, if there is `lost`, costs the page
    and what is below it: it is told the folder's path and the points.
    """

    def told(path: bytes) -> Lost | None:
        return None if lost is None else lambda points, e: lost(path, points, e)

    def overlay(path: bytes, strands: Sequence[Strand]) -> Iterator[tuple[bytes, list[Variant]]]:
        return iter(Overlay(within(path) if within is not None else source, strands, skip, told(path)))

    stack = [(path, overlay(path, strands))]
    while stack:
        above, rest = stack[-1]
        step = next(rest, None)
        if step is None:
            stack.pop()
            continue
        name, variants = step
        here = above + b"/" + name
        yield here, variants
        below = folder_strands(variants, told(here))
        if below:
            stack.append((here, overlay(here, below)))


# --- contents -------------------------------------------------------------------------------------------------


def content_id(leaf: Leaf, entry: Entry) -> bytes:
    """Identifies contents without reading them: equal for equal contents, wherever they are stored.

    For a folder it is the id of its top page: equal ids mean equal states, different ids mostly different ones. The
    data streams of a Windows file or folder are part of its contents. Raises Damaged.
    """
    own, streams = data_id(leaf, entry), streams_id(leaf, entry)
    return own + b" " + streams if streams else own


def streams_id(leaf: Leaf, entry: Entry) -> bytes:
    """As `content_id`, for the data streams of an entry; empty if it has none. Raises Damaged."""
    windows = leaf.windows(entry) if entry.more else None
    return b"".join(
        b"%d %b%b" % (len(name), name, pieces_id(s.content))
        for s in (windows.streams if windows is not None else ())
        for name in (name_bytes(s.name),)
    )


def pieces_id(pieces: list[Piece] | Paged) -> bytes:
    """The digest of the pieces of a file or stream."""
    if isinstance(pieces, Paged):
        return pieces.digest
    return file_digest([(p.length, None if isinstance(p, Hole) else p.id) for p in pieces])


def data_id(leaf: Leaf, entry: Entry) -> bytes:
    """As `content_id`, for an entry without its data streams. Raises Damaged."""
    kind = b"%d " % entry.kind
    if entry.kind == NodeKind.FILE:
        return kind + pieces_id(leaf.pieces(entry))
    if entry.kind == NodeKind.FOLDER:
        below = leaf.subtree(entry)
        return kind + (below.at.id if below else b"")
    if entry.kind not in TYPE_BITS:
        return b"malformed"
    content = leaf.node(entry).content
    return kind + (content if isinstance(content, bytes) else repr(content).encode())


class Version(NamedTuple):
    """One of the contents of a path, and the points that have it. `variant` is the entry in the first of them."""

    points: int
    variant: Variant


def distinct(variants: Iterable[Variant], identity: Callable[[Leaf, Entry], bytes] = content_id) -> list[Version]:
    """The different contents among variants, by the first point that has each."""
    found: dict[bytes, Version] = {}
    for variant in variants:
        key = identity(variant.leaf, variant.entry)
        known = found.get(key)
        if known is None:
            found[key] = Version(variant.points, variant)
        else:
            earliest = min(known.variant, variant, key=lambda v: first(v.points))
            found[key] = Version(known.points | variant.points, earliest)
    return sorted(found.values(), key=lambda v: first(v.points))
