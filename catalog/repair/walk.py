"""Walks the trees of points for what they have in suspected packs, and for pages that can't be read.

Each distinct page is read once. What leads from a point to something suspect is noted, so that files and folders
can be named once it is known what is lost (names.py). Pages that can't be read are looked for elsewhere at once: an
equal page leads to what is below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
from blake3 import blake3

from catalog.direct import DirectSource
from catalog.errors import Damaged, NewerFormat, RpdriveError, ShortRead
from catalog.format.blocks import PackKind
from catalog.format.keys import ID_BYTES
from catalog.format.packs import Extent
from catalog.format.pages import Entry, Leaf
from catalog.format.records import Point
from catalog.format.values import NodeKind, OutOfLine, Paged
from catalog.mark.ids import Ids
from catalog.repair.work import Work
from catalog.tree import check_level
from catalog.vault import Vault

_encode = msgspec.msgpack.Encoder().encode
_DATA, _TREE = PackKind.DATA, PackKind.TREE


class _Page(NamedTuple):
    """A reference to a page of a folder, or of the pieces of a file. `name` is that of the entry that has it."""

    pieces: bool
    level: int
    at: Extent
    name: bytes = b""

    def key(self) -> bytes:
        return blake3(_encode((self.pieces, self.level, self.at))).digest(length=ID_BYTES)


class _Hold(NamedTuple):
    """An entry (none if the name is empty: the page itself) refers to a suspected chunk."""

    name: bytes
    kind: int
    at: Extent


class _Frame:
    """A page whose references are being followed."""

    def __init__(self, page: _Page, key: bytes) -> None:
        self.page, self.key = page, key
        self.below: Iterator[_Page] = iter(())
        self.holds: list[_Hold] = []
        self.edges: list[tuple[int, bytes, bool]] = []  # flagged pages below: number, name, whether of a file


class Walk:
    """One walk over the trees of many points. `copy_of` gives another copy of a tree chunk; None: there is none.

    Extents in suspected packs, and what can't be read, go into `work`.
    """

    def __init__(self, vault: Vault, work: Work, copy_of: Callable[[Extent], Extent | None]) -> None:
        self._source, self._work, self._copy_of = DirectSource(vault), work, copy_of
        self._suspects = {(int(kind), pack) for kind, pack, _why in work.suspects()}
        self._seen = Ids()
        self.pages = self.healed = self.unread = 0

    def close(self) -> None:
        self._seen.close()

    def point(self, point: Point) -> int | None:
        """Walk the tree of a point. The number of its top page, if that leads to something suspect."""
        if point.root is None:
            return None
        tree = point.root.subtree()
        stack: list[_Frame] = []
        opened, number = self._refer(_Page(False, tree.level, tree.at))
        if opened is None:
            return number
        stack.append(opened)
        while True:  # an explicit stack: folders may be nested deeper than Python allows calls to be
            frame = stack[-1]
            page = next(frame.below, None)
            if page is not None:
                opened, number = self._refer(page)
                if opened is not None:
                    stack.append(opened)
                elif number is not None:
                    frame.edges.append((number, page.name, page.pieces and not frame.page.pieces))
                continue
            stack.pop()
            number = self._note(frame)
            if not stack:
                return number
            if number is not None:
                above = stack[-1]
                above.edges.append((number, frame.page.name, frame.page.pieces and not above.page.pieces))

    def _refer(self, page: _Page) -> tuple[_Frame | None, int | None]:
        """A frame for a page that is met for the first time; otherwise its number, if it is flagged."""
        key = page.key()
        if not self._seen.add(key):
            row = self._work.db.execute("SELECT number FROM pages WHERE key = ?", (key,)).fetchone()
            return None, None if row is None else int(row[0])
        frame = _Frame(page, key)
        self._block(frame, b"", _TREE, page.at)
        try:
            check_level(page.level)
            frame.below = iter(self._read(frame, page))
        except (Damaged, NewerFormat, ShortRead) as e:
            self.unread += 1
            self._lost(frame, b"", page.at, e)
        self.pages += 1
        return frame, None

    def _note(self, frame: _Frame) -> int | None:
        """Write what a page leads to. Its number, if that is anything suspect."""
        if not frame.holds and not frame.edges:
            return None
        db = self._work.db
        number = db.execute("INSERT INTO pages (key) VALUES (?)", (frame.key,)).lastrowid
        assert number is not None
        db.executemany(
            "INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?)",
            ((number, h.name, h.kind, h.at.pack, h.at.offset, h.at.inner) for h in frame.holds),
        )
        db.executemany("INSERT INTO edges VALUES (?, ?, ?, ?)", ((number, *edge) for edge in frame.edges))
        return number

    # --- pages --------------------------------------------------------------------------------------------

    def _read(self, frame: _Frame, page: _Page) -> list[_Page]:
        """The references of a page to other pages. What it has in suspected packs goes into the frame."""
        try:
            return self._decoded(frame, page)
        except NewerFormat:
            raise
        except (Damaged, ShortRead):
            if not self._heal(frame, b"", page.at):
                raise
            return self._decoded(frame, page)

    def _decoded(self, frame: _Frame, page: _Page) -> list[_Page]:
        frame.holds = [hold for hold in frame.holds if not hold.name]
        if page.pieces and page.level:
            pieces = self._source.piece_index(page.at)
            return [_Page(True, page.level - 1, pieces.at(child)) for child in pieces.children]
        if page.pieces:
            for piece in self._source.piece_leaf(page.at).pieces():
                if isinstance(piece, Extent):
                    self._block(frame, b"", _DATA, piece)
            return []
        if page.level:
            index = self._source.folder_index(page.at)
            return [_Page(False, page.level - 1, index.at(child)) for child in index.children]
        leaf, below = self._source.leaf(page.at), list[_Page]()
        for entry in leaf.entries:
            try:
                below += self._entry(frame, leaf, entry)
            except (Damaged, NewerFormat):
                continue  # a malformed entry: the rest of its page is as good as ever
        return below

    def _entry(self, frame: _Frame, leaf: Leaf, entry: Entry) -> list[_Page]:
        below = list[_Page]()
        leaf.check(entry)
        if entry.kind == NodeKind.FOLDER and (tree := leaf.subtree(entry)) is not None:
            below.append(_Page(False, tree.level, tree.at, entry.name))
        for content in leaf.contents(entry):
            if isinstance(content, Paged):
                below.append(_Page(True, content.level, content.at, entry.name))
                continue
            for piece in content:
                if isinstance(piece, Extent):
                    self._block(frame, entry.name, _DATA, piece)
        windows = leaf.windows(entry)
        values = [*(leaf.xattrs(entry) or {}).values(), *(windows.values() if windows is not None else ())]
        for value in values:
            if isinstance(value, OutOfLine):
                self._value(frame, entry.name, value.at)
        return below

    def _value(self, frame: _Frame, name: bytes, at: Extent) -> None:
        """A value that is stored out of line, in a tree pack."""
        self._block(frame, name, _TREE, at)
        if not self._seen.add(_Page(False, -1, at).key()):
            if self._work.db.execute(
                "SELECT 1 FROM bad WHERE (kind, pack, offset) = (?, ?, ?)", (int(_TREE), at.pack, at.offset)
            ).fetchone():
                self._hold(frame, name, _TREE, at)
            return
        try:
            self._source.chunk(at)
        except (Damaged, NewerFormat, ShortRead) as e:
            if not self._heal(frame, name, at):
                self._lost(frame, name, at, e)

    # --- what is suspect ----------------------------------------------------------------------------------

    def _block(self, frame: _Frame, name: bytes, kind: PackKind, at: Extent) -> None:
        if self._suspects and (int(kind), at.pack) in self._suspects:
            self._hold(frame, name, kind, at)

    def _hold(self, frame: _Frame, name: bytes, kind: PackKind, at: Extent) -> None:
        self._work.add_extent(kind, at)
        frame.holds.append(_Hold(name, int(kind), at))

    def _heal(self, frame: _Frame, name: bytes, at: Extent) -> bool:
        """Look for another copy of a tree chunk that can't be read. Whether it can now be read."""
        other = self._copy_of(at)
        if other is None:
            return False
        self._hold(frame, name, _TREE, at)
        self._work.add_bad(_TREE, at.pack, at.offset, "it can't be read")
        self._work.add_copy(_TREE, at, other)
        self.healed += 1
        return True

    def _lost(self, frame: _Frame, name: bytes, at: Extent, error: RpdriveError) -> None:
        self._hold(frame, name, _TREE, at)
        if not isinstance(error, NewerFormat):
            self._work.add_bad(_TREE, at.pack, at.offset, str(error))
