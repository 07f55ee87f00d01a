"""Marks: follows the trees of all roots, each distinct page once, and gathers the blocks that they refer to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from blake3 import blake3

from catalog.direct import DirectSource
from catalog.errors import Damaged, NewerFormat, RpdriveError, ShortRead
from catalog.format.blocks import PackKind
from catalog.format.keys import ID_BYTES
from catalog.format.packs import SERIES_BYTES, Extent
from catalog.format.pages import Entry, Leaf
from catalog.format.places import PlacesRecord
from catalog.format.records import Machine, PointName
from catalog.format.values import NOTHING, Hole, NodeKind, OutOfLine, Paged, Totals
from catalog.mark.faults import BLINDING, MOST_PATHS, MOST_POINTS, Fault, FaultKind
from catalog.mark.ids import Ids
from catalog.mark.live import Live
from catalog.mark.roots import Root, Roots
from catalog.tree import check_level
from catalog.vault import Vault

_encode = msgspec.msgpack.Encoder().encode


class Progress(NamedTuple):
    """How far a mark is. `total` counts the roots."""

    points: int
    total: int
    pages: int
    entries: int


class Marked(NamedTuple):
    """What a mark found. `close` removes its temporary files.

    `pages` and `entries` are those that were read in this run. Of `faults`, those below one page are named up to a
    limit; if `is_blind`, there are some that hide what is live, so that nothing may be deleted.
    """

    live: Live
    faults: list[Fault]
    is_blind: bool
    pages: int
    entries: int

    @property
    def damaged(self) -> list[Fault]:
        """The faults that hide what is live: nothing may be deleted after them."""
        return [fault for fault in self.faults if fault.is_blinding]

    def close(self) -> None:
        self.live.close()


def mark(
    vault: Vault,
    roots: Roots,
    *,
    machines: Mapping[bytes, Machine] | None = None,
    places: Sequence[PlacesRecord] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Marked:
    """Mark from these roots. Reads each distinct page of their trees once.

    `machines` are the records of machines, by id, whose `shares` say to which other series pages may refer, and
    `places` the newest records of places of all series of these machines; None: they are read. The targets of
    `instead` rows of what is live are live, too. Raises StoreError; what can't be read because it is damaged or
    missing becomes a fault.
    """
    known = vault.machines() if machines is None else machines
    if places is None:
        series = sorted({root.name.machine[:SERIES_BYTES] for root in roots.roots})
        places = [record for one in series for record in vault.places.newest(one)]
    walk = _Mark(vault, known, places)
    try:
        for fault in (_unread(r.name, r.error) for r in roots.unread):
            walk.faults.append(fault)
            walk.is_blind = True
        for n, root in enumerate(roots.roots):
            walk.root(root)
            if progress is not None:
                progress(Progress(n + 1, len(roots.roots), walk.pages, walk.entries))
        _add_targets(walk.live, places)
        return Marked(walk.live, walk.found(), walk.is_blind, walk.pages, walk.entries)
    except BaseException:
        walk.live.close()
        raise
    finally:
        walk.seen.close()


def _unread(name: PointName, error: RpdriveError) -> Fault:
    return Fault(FaultKind.POINT, b"", str(error), (name,))


class _Problem(NamedTuple):
    """A fault before the points that have it are known. It is one by kind, pack, offset, inner and reason."""

    kind: FaultKind
    pack: bytes
    offset: int
    inner: int
    reason: str
    acknowledged: bool

    @property
    def is_blinding(self) -> bool:
        return self.kind in BLINDING and not self.acknowledged


_Paths = dict[_Problem, bytes]  # where a page has a problem: a path from its folder


class _Page(NamedTuple):
    """A reference to a page: of a folder, or of a file's pieces. What it claims is compared with the page."""

    pieces: bool
    level: int
    at: Extent
    path: bytes  # from the folder of the page that refers to it
    claim: tuple[object, ...]


class _Frame:
    """A page whose references are being followed."""

    def __init__(self, key: bytes, path: bytes, below: Iterator[_Page]) -> None:
        self.key, self.path, self.below = key, path, below
        self.problems: _Paths = {}


class _Mark:
    def __init__(self, vault: Vault, machines: Mapping[bytes, Machine], places: Iterable[PlacesRecord]) -> None:
        self._machines = machines
        self._source = DirectSource(vault)
        self._broken = {(r.pack, r.offset) for p in places for r in p.broken if r.kind == PackKind.TREE}
        self.is_blind = False
        self.live = Live()
        self.seen = Ids()
        self.faults: list[Fault] = []
        self.pages = self.entries = 0
        self._allowed = frozenset[bytes]()
        self._bad: dict[bytes, _Paths] = {}  # the pages that have or lead to problems, by key
        self._by_problem: dict[_Problem, tuple[bytes, list[PointName]]] = {}

    def root(self, root: Root) -> None:
        """Follow the tree of a point."""
        top = root.point.root
        machine = self._machines.get(root.name.machine)
        shares = machine.shares if machine is not None else []
        self._allowed = frozenset(one[:SERIES_BYTES] for one in (root.name.machine, *shares))
        if top is None:
            return
        tree = top.subtree()
        base = _Frame(b"", b"", iter((_Page(False, tree.level, tree.at, b"", (tree.totals, b"")),)))
        self._follow(base)
        for problem, path in base.problems.items():
            _path, points = self._by_problem.setdefault(problem, (path, []))
            if len(points) < MOST_POINTS:
                points.append(root.name)

    def found(self) -> list[Fault]:
        """All faults."""
        return self.faults + [
            Fault(p.kind, path, p.reason, tuple(points), p.pack, p.offset, p.acknowledged)
            for p, (path, points) in self._by_problem.items()
        ]

    def _follow(self, base: _Frame) -> None:
        # An explicit stack: folders may be nested deeper than Python allows calls to be.
        stack = [base]
        while stack:
            frame = stack[-1]
            page = next(frame.below, None)
            if page is None:
                stack.pop()
                if stack and frame.problems:
                    self._bad[frame.key] = frame.problems
                    _add(stack[-1].problems, frame.path, frame.problems)
                continue
            opened = self._refer(frame, page)
            if opened is not None:
                stack.append(opened)

    def _refer(self, above: _Frame, page: _Page) -> _Frame | None:
        """Note a reference to a page. The page, if it was not met before."""
        at = page.at
        self._block(above, page.path, PackKind.TREE, at, at)
        key = self._key(page)
        if not self.seen.add(key):
            if key in self._bad:
                _add(above.problems, page.path, self._bad[key])
            return None
        frame = _Frame(key, page.path, iter(()))
        try:
            check_level(page.level)
            frame.below = self._open(frame, page)
            self.pages += 1
        except (Damaged, NewerFormat, ShortRead) as e:
            self._problem(frame, FaultKind.PAGE, at, b"", str(e))
        return frame

    def _key(self, page: _Page) -> bytes:
        """An id of what is to be compared: of the page, its place, and what is claimed and allowed."""
        what = (page.pieces, page.level, page.at, page.claim, sorted(self._allowed))
        return blake3(_encode(what)).digest(length=ID_BYTES)

    def _open(self, frame: _Frame, page: _Page) -> Iterator[_Page]:
        """The references in a page, after its own blocks were gathered."""
        if page.pieces:
            return iter(self._pieces(frame, page))
        if page.level == 0:
            return iter(self._leaf(frame, page))
        index = self._source.folder_index(page.at)
        total = NOTHING
        for child in index.children:
            total = total.plus(child.totals)
        self._compare(frame, page, (total, index.children[0].first))
        return iter([_Page(False, page.level - 1, index.at(c), b"", (c.totals, c.first)) for c in index.children])

    def _leaf(self, frame: _Frame, page: _Page) -> list[_Page]:
        leaf, below = self._source.leaf(page.at), list[_Page]()
        total = NOTHING
        for entry in leaf.entries:
            self.entries += 1
            try:
                leaf.check(entry)
                leaf.owner(entry)
                total = total.plus(self._entry(frame, page, leaf, entry, below))
            except (Damaged, NewerFormat) as e:
                self._problem(frame, FaultKind.ENTRY, page.at, entry.name, str(e))
        self._compare(frame, page, (total, leaf.entries[0].name))
        self._values(frame, page, leaf)
        return below

    def _entry(self, frame: _Frame, page: _Page, leaf: Leaf, entry: Entry, below: list[_Page]) -> Totals:
        """Gather what an entry refers to. Its totals."""
        name = entry.name
        own = Totals(1, 0, 0, 1 if entry.xattrs >= 0 else 0)
        if entry.kind == NodeKind.FILE:
            own = Totals(1, 1, entry.size, own.xattrs)
        elif entry.kind == NodeKind.FOLDER:
            tree = leaf.subtree(entry)
            if tree is not None:
                below.append(_Page(False, tree.level, tree.at, name, (tree.totals, b"")))
                own = own.plus(tree.totals)
        if entry.xattrs >= 0:
            leaf.xattrs(entry)
        windows = leaf.windows(entry)
        contents = [(s.content, s.size) for s in windows.streams] if windows is not None else []
        if entry.kind == NodeKind.FILE:
            contents.append((leaf.pieces(entry), entry.size))
        for content, size in contents:
            if isinstance(content, Paged):
                below.append(_Page(True, content.level, content.at, name, (size,)))
                continue
            for piece in content:
                if not isinstance(piece, Hole):
                    self._block(frame, name, PackKind.DATA, piece, page.at)
            if sum(piece.length for piece in content) != size:
                self._problem(
                    frame, FaultKind.TOTALS, page.at, name, f"the pieces of a file do not add up to {size} bytes"
                )
        return own

    def _values(self, frame: _Frame, page: _Page, leaf: Leaf) -> None:
        """Gather and read the values that are stored out of line."""
        for n in range(len(leaf.sets)):
            try:
                values = leaf.xattr_set(n, leaf.entries[0].name).values()
            except Damaged as e:
                self._problem(frame, FaultKind.ENTRY, page.at, b"", str(e))
                continue
            for value in values:
                if isinstance(value, OutOfLine):
                    self._block(frame, b"", PackKind.TREE, value.at, page.at)
                    if self.seen.add(self._key(_Page(False, -1, value.at, b"", ()))):
                        try:
                            self._source.chunk(value.at)
                        except (Damaged, NewerFormat, ShortRead) as e:
                            self._problem(frame, FaultKind.VALUE, value.at, b"", str(e))

    def _pieces(self, frame: _Frame, page: _Page) -> list[_Page]:
        if page.level == 0:
            pieces = self._source.piece_leaf(page.at).pieces()
            for piece in pieces:
                if not isinstance(piece, Hole):
                    self._block(frame, b"", PackKind.DATA, piece, page.at)
            self._compare(frame, page, (sum(piece.length for piece in pieces),))
            return []
        index = self._source.piece_index(page.at)
        self._compare(frame, page, (sum(child.covers for child in index.children),))
        return [_Page(True, page.level - 1, index.at(c), b"", (c.covers,)) for c in index.children]

    def _compare(self, frame: _Frame, page: _Page, found: tuple[object, ...]) -> None:
        """Compare a page with what the reference to it claims."""
        for claimed, there in zip(page.claim, found, strict=True):
            if claimed not in (there, b""):
                reason = f"a page has {there!r}, and the reference to it says {claimed!r}"
                self._problem(frame, FaultKind.TOTALS, page.at, b"", reason)

    def _block(self, frame: _Frame, path: bytes, kind: PackKind, at: Extent, page: Extent) -> None:
        """Gather a block. `page` is the page that refers to it."""
        if at.pack[:SERIES_BYTES] not in self._allowed:
            reason = f"a page refers to a pack of another machine, {at.pack.hex()}, which this one does not share"
            self._problem(frame, FaultKind.STRANGER, page, path, reason)
        self.live.add(kind, at.pack, at.offset, at.stored)

    def _problem(self, frame: _Frame, kind: FaultKind, at: Extent, path: bytes, reason: str) -> None:
        acknowledged = not self._broken.isdisjoint({(at.pack, at.offset), (at.pack, None)})
        problem = _Problem(kind, at.pack, at.offset, at.inner, reason, acknowledged)
        self.is_blind |= problem.is_blinding
        _add(frame.problems, b"", {problem: path})


def _add(to: _Paths, path: bytes, problems: _Paths) -> None:
    """Add the problems of a page to those of the page that refers to it: some of each sort."""
    for problem, below in problems.items():
        if problem not in to and sum(p.is_blinding == problem.is_blinding for p in to) < MOST_PATHS:
            to[problem] = path + b"/" + below if path and below else path or below


def _add_targets(live: Live, places: Iterable[PlacesRecord]) -> None:
    """Add the other copies of what is live and lost, and copies of these."""
    rows = {(row.kind, row.pack, row.offset, row.inner): row for record in places for row in record.instead}
    wanted: dict[tuple[int, bytes], list[int]] = {}
    for kind, pack, offset, _inner in rows:
        wanted.setdefault((kind, pack), []).append(offset)
    if not rows:
        return
    found = set[tuple[int, bytes, int]]()
    for kind in (PackKind.DATA, PackKind.TREE):
        for pack, spans in live.spans(kind):
            for offset in wanted.get((kind, pack), ()):
                if any(start <= offset < end for start, end in spans):
                    found.add((kind, pack, offset))
    todo = [row for key, row in rows.items() if key[:3] in found]
    done = set[tuple[int, bytes, int]]()
    while todo:
        row = todo.pop()
        live.add(row.kind, row.extent.pack, row.extent.offset, row.extent.stored)
        target = row.kind, row.extent.pack, row.extent.offset
        if target not in done:
            done.add(target)
            todo += [other for key, other in rows.items() if key[:3] == target]
