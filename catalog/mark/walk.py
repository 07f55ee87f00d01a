"""Follows the trees of recovery points, each distinct reference to a page once, and gathers what they refer to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import msgspec
from blake3 import blake3

from catalog.errors import AccessDenied, Damaged, NewerFormat, ShortRead
from catalog.format.blocks import PackKind
from catalog.format.keys import ID_BYTES
from catalog.format.packs import SERIES_BYTES, Extent, pack_name
from catalog.format.pages import FolderIndex, Leaf, PieceIndex, PieceLeaf
from catalog.format.places import PlacesRecord, near
from catalog.format.values import NOTHING, Subtree, Totals
from catalog.mark.faults import Bad, FaultKind, Harm, IsBad, Place, Problem
from catalog.mark.ids import Ids
from catalog.mark.leaf import LeafContents, pieces_in_entries
from catalog.mark.live import Live, packed, unpacked
from catalog.tree import PageSource, check_level

_encode = msgspec.msgpack.Encoder().encode
_UNREADABLE = (Damaged, NewerFormat, ShortRead)
_VALUE = -1  # in place of a level: a value that is stored out of line


class Source(PageSource, Protocol):
    """A source of pages, and of values out of line."""

    def chunk(self, at: Extent) -> object: ...


class _Ref(NamedTuple):
    """A reference to a page: of a folder, or of a file's pieces, or to a value. `name` is that of its entry.

    What it claims is compared with the page: the totals, the first name and that before which all names must be, or
    the bytes covered.
    """

    pieces: bool
    level: int
    at: Extent
    name: bytes = b""
    totals: Totals | None = None
    first: bytes = b""
    before: bytes = b""
    covers: int = 0

    def key(self, allowed: Sequence[bytes]) -> bytes:
        """An id of what is to be compared; not of `before`, as what is beside a page changes without it."""
        what = (self.pieces, self.level, self.at, self.totals, self.first, self.covers, allowed)
        return blake3(_encode(what)).digest(length=ID_BYTES)


class _Frame:
    """A page whose references are being followed."""

    def __init__(self, key: bytes, ref: _Ref, below: Iterator[_Ref] = iter(())) -> None:
        self.key, self.ref, self.below = key, ref, below
        self.harm = Harm()


class Walk:
    """Gathers blocks into `live`, and passes over the references in `seen`, below which everything is known.

    `places` are the newest records of the series; `is_bad` says which blocks of data packs can't be read. `tick` is
    called after every 256 pages. Not thread-safe.
    """

    def __init__(
        self,
        source: Source,
        live: Live,
        seen: Ids,
        places: Sequence[PlacesRecord] = (),
        is_bad: IsBad | None = None,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._source, self._live, self._seen, self._is_bad, self._tick = source, live, seen, is_bad, tick
        self._broken = {(r.kind, r.pack, r.offset) for p in places for r in p.broken}
        self._copies = {(r.kind, r.pack, r.offset, r.inner): near(r.extent) for p in places for r in p.instead}
        self._allowed: list[bytes] = []
        self._harmed: dict[bytes, Harm] = {}  # what is wrong in and below pages, by their keys
        self.lost: set[tuple[PackKind, bytes]] = set()  # packs with blocks that can't be read, and have no copies
        self.unknown: set[tuple[PackKind, bytes]] = set()  # those of which no record says so of one of these blocks
        self.pages = self.entries = 0

    @property
    def hiding(self) -> frozenset[bytes]:
        """The keys in `seen` of references below which not everything is known."""
        return frozenset(key for key, harm in self._harmed.items() if harm.hides)

    def tree(self, root: Subtree, allowed: Iterable[bytes]) -> Harm:
        """Follow the tree of a point. `allowed` are the series that its pages may refer to. What is wrong in it."""
        self._allowed = sorted(allowed)
        top = _Ref(False, root.level, root.at, totals=root.totals)
        base = _Frame(b"", top, iter((top,)))
        # An explicit stack: folders may be nested deeper than Python allows calls to be.
        stack = [base]
        while stack:
            frame = stack[-1]
            ref = next(frame.below, None)
            if ref is not None:
                below = self._refer(frame, ref)
                if below is not None:
                    stack.append(below)
                continue
            stack.pop()
            if stack and frame.harm:
                self._harmed[frame.key] = frame.harm
                stack[-1].harm.take(frame.ref.name, frame.harm, is_file=frame.ref.pieces)
        return base.harm

    def is_seen(self, root: Subtree, allowed: Iterable[bytes]) -> bool:
        """Whether the tree was followed before."""
        return _Ref(False, root.level, root.at, totals=root.totals).key(sorted(allowed)) in self._seen

    def _refer(self, above: _Frame, ref: _Ref) -> _Frame | None:
        """Note a reference to a page. Returns the page, if it was not met before."""
        at = ref.at
        self._live.add(PackKind.TREE, at.pack, at.offset, at.stored)
        self._check_series(above, ref.name, at.pack)
        key = ref.key(self._allowed)
        if not self._seen.add(key):
            harm = self._harmed.get(key)
            if harm is not None:
                above.harm.take(ref.name, harm, is_file=ref.pieces)
            return None
        frame = _Frame(key, ref)
        try:
            self._open(frame)
        except _UNREADABLE as e:
            kind = FaultKind.PAGE if ref.level != _VALUE else FaultKind.VALUE
            self._lose(PackKind.TREE, at)
            self._problem(frame, kind, b"", str(e), sure=_is_sure(e), object_name=pack_name(PackKind.TREE, at.pack))
            if ref.pieces:
                frame.harm.lose_file(b"")
            elif ref.totals is not None:
                frame.harm.lose_folder(ref.totals.files)
        self.pages += 1
        if self.pages % 256 == 0:
            self._tick()
        return frame

    def _open(self, frame: _Frame) -> None:
        """Read a page, gather its blocks, and find what it refers to."""
        ref = frame.ref
        if ref.level == _VALUE:
            self._source.chunk(ref.at)
            return
        check_level(ref.level)
        if ref.pieces:
            if ref.level:
                self._piece_index(frame, self._source.piece_index(ref.at))
            else:
                self._piece_leaf(frame, self._source.piece_leaf(ref.at))
        elif ref.level:
            self._folder_index(frame, self._source.folder_index(ref.at))
        else:
            self._leaf(frame, self._source.leaf(ref.at))

    # --- folders ------------------------------------------------------------------------------------------

    def _folder_index(self, frame: _Frame, index: FolderIndex) -> None:
        ref, children, total = frame.ref, index.children, NOTHING
        for child in children:
            total = total.plus(child.totals)
        self._compare_folder(frame, total, children[0].first, children[-1].first)
        ends = [child.first for child in children[1:]] + [ref.before]
        frame.below = iter(
            [
                _Ref(False, ref.level - 1, index.at(child), b"", child.totals, child.first, end)
                for child, end in zip(children, ends, strict=True)
            ]
        )

    def _leaf(self, frame: _Frame, leaf: Leaf) -> None:
        contents, entries = LeafContents(leaf), leaf.entries
        self.entries += len(entries)
        malformed = False
        for wrong in contents.wrong:
            malformed |= wrong.malformed
            kind = FaultKind.ENTRY if wrong.malformed else FaultKind.TREE
            self._problem(frame, kind, wrong.name, wrong.reason)
            frame.harm.lose_file(wrong.name)
        if not malformed:
            self._compare_folder(frame, contents.totals, entries[0].name, entries[-1].name)
        for pack, blocks in contents.blocks.items():
            self._check_series(frame, b"", pack)
            self._live.add_blocks(PackKind.DATA, pack, blocks)
        if self._is_bad is not None:
            bad = self._bad(contents.blocks)
            if bad:
                self._lose_pieces(frame, bad, pieces_in_entries(leaf))
        below = [_Ref(False, tree.level, tree.at, name, tree.totals) for name, tree in contents.folders]
        below += [_Ref(True, p.level, p.at, name, covers=size) for name, p, size in contents.paged]
        below += [_Ref(False, _VALUE, at) for at in contents.values]
        frame.below = iter(below)

    def _compare_folder(self, frame: _Frame, totals: Totals, first: bytes, last: bytes) -> None:
        ref = frame.ref
        if ref.totals is not None and ref.totals != totals:
            self._problem(frame, FaultKind.TREE, b"", f"a page has {totals}, and the page above says {ref.totals}")
        if (ref.first and ref.first != first) or (ref.before and last >= ref.before):
            self._problem(frame, FaultKind.TREE, b"", "a page has other names than the page above says")

    # --- pieces -------------------------------------------------------------------------------------------

    def _piece_index(self, frame: _Frame, index: PieceIndex) -> None:
        self._compare_pieces(frame, sum(child.covers for child in index.children))
        level = frame.ref.level - 1
        frame.below = iter([_Ref(True, level, index.at(c), covers=c.covers) for c in index.children])

    def _piece_leaf(self, frame: _Frame, page: PieceLeaf) -> None:
        blocks: dict[bytes, set[int]] = {}
        extents, length = list[Extent](), 0
        for piece in page.pieces():
            length += piece.length
            if isinstance(piece, Extent):
                extents.append(piece)
                blocks.setdefault(piece.pack, set()).add(packed(piece.offset, piece.stored))
        self._compare_pieces(frame, length)
        for pack, some in blocks.items():
            self._check_series(frame, b"", pack)
            self._live.add_blocks(PackKind.DATA, pack, some)
        if self._is_bad is not None:
            bad = self._bad(blocks)
            if bad:
                self._lose_pieces(frame, bad, ((b"", extent) for extent in extents))

    def _compare_pieces(self, frame: _Frame, length: int) -> None:
        if length != frame.ref.covers:
            reason = f"a page of a file's pieces has {length} bytes, and not {frame.ref.covers}, as is said above"
            self._problem(frame, FaultKind.TREE, b"", reason)
            frame.harm.lose_file(b"")

    # --- faults -------------------------------------------------------------------------------------------

    def _bad(self, blocks: dict[bytes, set[int]]) -> dict[tuple[bytes, int], Bad]:
        assert self._is_bad is not None
        found = {}
        for pack, some in blocks.items():
            for block in some:
                offset, stored = unpacked(block)
                bad = self._is_bad(PackKind.DATA, pack, offset, offset + stored)
                if bad is not None:
                    found[pack, offset] = bad
        return found

    def _lose_pieces(
        self, frame: _Frame, bad: dict[tuple[bytes, int], Bad], pieces: Iterable[tuple[bytes, Extent]]
    ) -> None:
        """Count the files whose pieces are in bad blocks, and have no other copy."""
        for name, piece in pieces:
            why = bad.get((piece.pack, piece.offset))
            if why is None:
                continue
            copy = self._copies.get((PackKind.DATA, piece.pack, piece.offset, piece.inner))
            if copy is not None and (copy.id, copy.length) == (piece.id, piece.length):
                if not self._bad({copy.pack: {packed(copy.offset, copy.stored)}}):
                    continue
                self._lose(PackKind.DATA, copy)
            known = self._lose(PackKind.DATA, piece)
            kind = FaultKind.SHORT if why.short else FaultKind.CONTENT
            frame.harm.add(Problem(kind, why.at, 0, why.reason, why.object, known), name)
            frame.harm.lose_file(name)

    def _lose(self, kind: PackKind, at: Extent) -> bool:
        """Note the pack of a block that can't be read. Whether a record of places acknowledges that."""
        known = self._is_broken(Place(kind, at.pack, at.offset))
        self.lost.add((kind, at.pack))
        if not known:
            self.unknown.add((kind, at.pack))
        return known

    def _check_series(self, frame: _Frame, name: bytes, pack: bytes) -> None:
        if pack[:SERIES_BYTES] not in self._allowed:
            reason = f"a page refers to pack {pack.hex()} of another machine, which this one does not share"
            self._problem(frame, FaultKind.STRANGER, name, reason)

    def _problem(
        self,
        frame: _Frame,
        kind: FaultKind,
        name: bytes,
        reason: str,
        *,
        sure: bool = True,
        object_name: str = "",
    ) -> None:
        """Note what is wrong with a page, or with an entry in it."""
        at = frame.ref.at
        place = Place(PackKind.TREE, at.pack, at.offset, at.stored)
        broken = self._is_broken(place)
        frame.harm.add(Problem(kind, place, at.inner, reason, object_name, broken, sure), name)

    def _is_broken(self, at: Place) -> bool:
        """Whether a record of places acknowledges that a block is lost."""
        return (at.kind, at.pack, at.offset) in self._broken or (at.kind, at.pack, None) in self._broken


def _is_sure(error: Exception) -> bool:
    """Whether bytes are damaged or missing; a newer version can read others, and who may, what is refused."""
    return isinstance(error, Damaged | ShortRead) and not isinstance(error.__cause__, AccessDenied)
