"""Looks for paths in the points of items: first in the newest of each, so that hits come at once, then in all.

The second look merges all points of an item (catalog.history.overlay), and reads each page that they share once. It
passes over what all of them have alike, which the first look has seen: a hit there is in all points, in one
version. What else it meets again completes the hit that the first look found.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence

from catalog.errors import Damaged, RpdriveError
from catalog.format.packs import Extent
from catalog.format.pages import Entry, FolderIndex, Leaf, PieceIndex, PieceLeaf
from catalog.format.records import Point, PointName
from catalog.format.values import NodeKind
from catalog.history.overlay import (
    BatchSource,
    Strand,
    distinct,
    first,
    follow,
    held,
    last,
    root_strands,
    walk,
)
from catalog.history.variants import Variant
from catalog.points.choice import iter_items, path_text
from catalog.points.listing import entry_size, kind_name
from catalog.points.opening import first_that_opens, read_points
from catalog.vault import Vault
from mount.browse.resources.matching import Fits

MOST = 10_000  # hits kept of a search
MOST_BYTES = 8 << 20  # bytes of their paths
PROBLEMS = 100  # named; the rest is counted
RECORDS = 256  # read before somebody is asked whether to go on
DEEPEST = 64 << 10  # bytes of a path; what is below is not searched
REMEMBERED = 24 << 20  # bytes of what is kept of the newest points' pages
_MARKS = 512  # paths of the newest point by which that is seen
_MALFORMED = "malformed"


class Ended(Exception):
    """The search was ended by somebody."""


class Hit:
    """A path that matches, in one item. Times in ns (UTC), `size` in bytes.

    `points` and `versions` are those found so far, until `counted`. `point` is the newest point that has the path,
    and `kind`, `size` and `time` are from there.
    """

    __slots__ = (
        "counted", "first", "item", "kind", "last", "machine", "path", "point", "points", "size", "time",
        "versions",
    )  # fmt: skip

    def __init__(self, path: bytes, points: Sequence[Point], variants: list[Variant], *, counted: bool) -> None:
        self.path, self.counted = path, counted
        self.machine, self.item = points[0].machine, points[0].item
        self.look(points, variants)

    def look(self, points: Sequence[Point], variants: list[Variant]) -> None:
        """Say what these variants are, the numbers of whose points are those of `points`."""
        has = held(variants)
        newest = max(variants, key=lambda v: last(v.points))
        self.in_points(points, has)
        self.point = points[last(has)].id
        self.kind, self.size, self.time = shape(newest.leaf, newest.entry)
        try:
            self.versions = len(distinct(variants))
        except Damaged:
            self.versions = len(variants)

    def in_points(self, points: Sequence[Point], has: int) -> None:
        self.points = has.bit_count()
        self.first, self.last = points[first(has)].time, points[last(has)].time

    @property
    def cost(self) -> int:
        """Approximate size in bytes."""
        return 500 + len(self.path)


def shape(leaf: Leaf, entry: Entry) -> tuple[str, int, int | None]:
    """The kind, size and time of an entry; of a malformed one nothing is believed."""
    try:
        leaf.check(entry)
        return kind_name(entry), entry_size(leaf, entry), entry.mtime
    except Damaged:
        return _MALFORMED, 0, None


class Found:
    """What a search has found so far, and how far it is. Written by its thread, read by others with `lock`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.hits: list[Hit] = []
        self.cost = 0  # bytes
        self.total = 0  # hits, with those that were not kept
        self.problems: list[str] = []
        self.problem_count = 0
        self.points = self.points_total = 0
        self.entries = 0  # names that were looked at
        self.fraction = 0.0

    def add(self, hit: Hit) -> bool:
        """Count a hit, and keep it if there is room."""
        with self.lock:
            self.total += 1
            kept = len(self.hits) < MOST and self.cost + hit.cost <= MOST_BYTES
            if kept:
                self.hits.append(hit)
                self.cost += hit.cost
        return kept

    def problem(self, text: str) -> None:
        with self.lock:
            self.problem_count += 1
            if len(self.problems) < PROBLEMS:
                self.problems.append(text)


class Watched:
    """A source of pages that asks before each of them whether to go on."""

    def __init__(self, source: BatchSource, check: Callable[[], None]) -> None:
        self._source, self._check = source, check

    def leaf(self, at: Extent) -> Leaf:
        self._check()
        return self._source.leaf(at)

    def folder_index(self, at: Extent) -> FolderIndex:
        self._check()
        return self._source.folder_index(at)

    def piece_leaf(self, at: Extent) -> PieceLeaf:
        return self._source.piece_leaf(at)

    def piece_index(self, at: Extent) -> PieceIndex:
        return self._source.piece_index(at)

    def ready(self, pages: Sequence[Extent]) -> None:
        self._check()
        self._source.ready(pages)


class _Sieve:
    """Pages without the entries that neither match nor are folders: what a search needs of them.

    What it made of the newest points' pages is kept, as far as there is room, so that they are not read again.
    """

    def __init__(self, source: BatchSource, fits: Fits, found: Found) -> None:
        self.source, self.fits, self.found = source, fits, found
        self.keeping = False
        self._room = REMEMBERED
        self._pages: dict[tuple[bytes, bytes], Leaf | FolderIndex] = {}  # by id, and path of the folder

    def within(self, path: bytes) -> BatchSource:
        """The source for the folder at a path."""
        return _Sifted(self, path)

    def known(self, at: Extent, path: bytes) -> Leaf | FolderIndex | None:
        return self._pages.get((at.id, path))

    def leaf(self, at: Extent, path: bytes) -> Leaf:
        known = self._pages.get((at.id, path))
        if isinstance(known, Leaf):
            return known
        time.sleep(0)  # lets requests to the page have the interpreter: they wait half as long beside two searches
        leaf = self.source.leaf(at)
        self.found.entries += len(leaf.entries)
        fits, above, folder = self.fits, path + b"/", NodeKind.FOLDER
        wanted = [e for e in leaf.entries if e.kind == folder or fits(above + e.name)]
        sifted = Leaf(leaf.packs, leaf.owners, leaf.sets, wanted, leaf.home) if wanted else _NOTHING
        self._keep(at, path, sifted, at.length + 700 * len(wanted) if wanted else 0)
        return sifted

    def folder_index(self, at: Extent, path: bytes) -> FolderIndex:
        known = self._pages.get((at.id, path))
        if isinstance(known, FolderIndex):
            return known
        index = self.source.folder_index(at)
        self._keep(at, path, index, 8 * at.length)
        return index

    def _keep(self, at: Extent, path: bytes, page: Leaf | FolderIndex, cost: int) -> None:
        cost += 250
        if self.keeping and cost <= self._room:
            self._room -= cost
            self._pages[at.id, path] = page


_NOTHING = Leaf([], [], [], [])


class _Sifted:
    """What a search needs of the pages of one folder."""

    def __init__(self, sieve: _Sieve, path: bytes) -> None:
        self._sieve, self._path = sieve, path
        self.piece_leaf, self.piece_index = sieve.source.piece_leaf, sieve.source.piece_index

    def leaf(self, at: Extent) -> Leaf:
        return self._sieve.leaf(at, self._path)

    def folder_index(self, at: Extent) -> FolderIndex:
        return self._sieve.folder_index(at, self._path)

    def ready(self, pages: Sequence[Extent]) -> None:
        self._sieve.source.ready([at for at in pages if self._sieve.known(at, self._path) is None])


class _Marks:
    """Some paths of a walk, evenly spaced, by which a later walk in the same order sees how far it is."""

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._every, self._seen = 1, 0

    def add(self, path: bytes) -> None:
        self._seen += 1
        if self._seen % self._every:
            return
        self._keys.append(_in_walk(path))
        if len(self._keys) > _MARKS:
            del self._keys[::2]
            self._every *= 2

    def passed(self, path: bytes) -> float:
        """The part of the walk that is not after a path."""
        return bisect(self._keys, _in_walk(path)) / len(self._keys) if self._keys else 1.0


def _in_walk(path: bytes) -> bytes:
    """A key that sorts as a walk goes: a folder, its contents, then the next name. No name has a NUL."""
    return path.replace(b"/", b"\0")


class _Item:
    """An item that is searched, and what the look at its newest point left for the look at all."""

    def __init__(self, names: list[PointName]) -> None:
        self.key, self.count = names[0][:2], len(names)
        self.newest: Point | None = None
        self.marks = _Marks()
        self.open: dict[bytes, Hit] = {}  # the hits in the newest point that were kept, by path

    @property
    def weight(self) -> float:
        """The work of the look at all points, as a multiple of that at the newest: they share most pages."""
        return 0.0 if self.count < 2 else 1.0 + self.count / 50


class Scan:
    """One search. `check` raises Ended when it is to end; `tell` is called when there is something new."""

    def __init__(
        self,
        vault: Vault,
        source: BatchSource,
        fits: Fits,
        found: Found,
        *,
        below: bytes = b"",
        check: Callable[[], None],
        tell: Callable[[], None],
    ) -> None:
        self._vault, self._fits, self.found, self._below = vault, fits, found, below
        self._source = Watched(source, check)
        self._sieve = _Sieve(self._source, fits, found)
        self._check, self._tell = check, tell
        self._done = 0.0  # work
        self._work = 1.0
        self._anywhere = False  # whether any point has the folder `below`

    def run(self, groups: Sequence[Callable[[], list[PointName]]]) -> None:
        """Search points: each of `groups` lists some items' whole points, for each of both looks.

        Raises Ended and StoreError; damage is noted, and costs what it damaged.
        """
        self._sieve.keeping = True
        items = dict[tuple[bytes, bytes], _Item]()
        self._work = 2.0 * len(groups) or 1.0
        again = list[Callable[[], list[PointName]]]()
        for group in groups:
            self._work -= 2.0
            for key, names in _by_item(group()):
                items[key] = item = _Item(names)
                self.found.points_total += item.count
                self._work += 1.0 + item.weight
                self._newest(item, names)
                if item.count > 1 and group not in again[-1:]:
                    again.append(group)
        self._sieve.keeping = False
        for group in again:
            for key, names in _by_item(group()):
                known = items.pop(key, None)
                if known is not None and len(names) > 1 and known.newest is not None:
                    self._all(known, names)
        if self._below and not self._anywhere and self.found.points_total:
            self.found.problem(f"no recovery point has the folder {path_text(self._below)}")
        self.found.fraction = 1.0

    # --- the newest point ---------------------------------------------------------------------------------

    def _newest(self, item: _Item, names: list[PointName]) -> None:
        self._check()
        point = first_that_opens(self._vault, iter(names))
        if not isinstance(point, Point):
            self.found.problem(f"none of the points of item {item.key[1].hex()[:8]} can be read: {point}")
        else:
            item.newest = point
            points = [point]
            whole = max(point.totals.entries, 1)
            before = self.found.entries
            one = item.count == 1
            for path, variants in self._walk(points, item):
                item.marks.add(path)
                if self._fits(path):
                    hit = Hit(path, points, variants, counted=one)
                    if self.found.add(hit) and not one:
                        item.open[path] = hit
                    self._tell()
                self._progress(min((self.found.entries - before) / whole, 1.0))
        self.found.points += 1
        self._done += 1.0
        self._progress(0.0)

    # --- all points ---------------------------------------------------------------------------------------

    def _all(self, item: _Item, names: list[PointName]) -> None:
        points = list[Point]()
        for start in range(0, len(names), RECORDS):
            self._check()
            some, damaged = read_points(self._vault, names[start : start + RECORDS])
            points += some
            for error in damaged:
                self.found.problem(f"a recovery point can't be read: {error}")
        points.sort(key=age)
        newest = next((1 << n for n, p in enumerate(points) if item.newest and p.id == item.newest.id), 0)
        everywhere = (1 << len(points)) - 1
        lost: set[bytes] = set()
        for path, variants in self._walk(points, item, skip=everywhere if newest else 0, lost=lost):
            if self._fits(path):
                known = item.open.pop(path, None)
                if known is not None:
                    with self.found.lock:
                        known.look(points, variants)
                        known.counted = True
                    self._tell()
                elif not held(variants) & newest:
                    self.found.add(Hit(path, points, variants, counted=True))
                    self._tell()
            self._progress(item.weight * item.marks.passed(path))
        for path, hit in item.open.items():  # all points share these; but not below what could not be read
            if not any(path.startswith(folder + b"/") for folder in lost):
                with self.found.lock:
                    hit.in_points(points, everywhere)
                    hit.counted = True
        item.open.clear()
        self.found.points += item.count - 1
        self._done += item.weight
        self._progress(0.0)

    # --- both ---------------------------------------------------------------------------------------------

    def _walk(
        self, points: Sequence[Point], item: _Item, skip: int = 0, lost: set[bytes] | None = None
    ) -> Iterator[tuple[bytes, list[Variant]]]:
        """The paths of these points that match, and all folders, in walk order."""
        many = len(points) > 1

        def note(path: bytes, which: int, error: RpdriveError) -> None:
            if lost is not None and len(lost) < PROBLEMS:
                lost.add(path)
            if many and not which & (which - 1) and item.newest and points[first(which)].id == item.newest.id:
                return  # said when the newest point was searched
            where = f"{which.bit_count():,} points" if many else f"point {points[0].id.hex()[:8]}"
            self.found.problem(f"a part of {path_text(path)} in {where} can't be read: {error}")

        def note_above(which: int, error: RpdriveError) -> None:
            note(self._below, which, error)

        strands = root_strands(points, note_above)
        here = b""
        if self._below:
            followed = follow(self._source, strands, self._below, note_above)
            here, strands = followed.path, followed.strands
            self._anywhere |= bool(followed.variants)
        for path, variants in self._steps(strands, here, skip, note):
            self._check()
            yield path, variants

    def _steps(
        self, strands: Sequence[Strand], here: bytes, skip: int, note: Callable[[bytes, int, RpdriveError], None]
    ) -> Iterator[tuple[bytes, list[Variant]]]:
        for path, variants in walk(self._source, strands, here, skip, note, self._sieve.within):
            if len(path) <= DEEPEST:
                yield path, variants
                continue
            folders = [v for v in variants if v.entry.kind == NodeKind.FOLDER]
            if folders:
                note(path[:200], held(folders), Damaged(f"it is nested in more than {DEEPEST:,} bytes of names"))
            variants.clear()  # so nothing below is walked

    def _progress(self, of_this: float) -> None:
        """`of_this`: the work done of what runs."""
        self.found.fraction = max(self.found.fraction, min((self._done + of_this) / self._work, 0.999))
        self._tell()


def age(name: PointName | Point) -> tuple[int, int, bytes]:
    return name.sequence, name.time, name.id


def _by_item(names: list[PointName]) -> list[tuple[tuple[bytes, bytes], list[PointName]]]:
    """The points of each item, the newest first."""
    return [(key, sorted(some, key=age, reverse=True)) for key, some in iter_items(names)]
