"""The point that a backup compares with, and a folder of it beside one that is walked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from backup.systems.base import Status
from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.pages import Entry, FolderIndex, Leaf
from catalog.format.values import NodeKind, OutOfLine, Paged, Subtree, kind_of
from catalog.format.writing import FolderWriter
from catalog.tree import PageSource

_FILE = int(NodeKind.FILE)


class Old(NamedTuple):
    entry: Entry
    leaf: Leaf


@dataclass(frozen=True)
class Previous:
    """The point to compare with. An entry whose ctime (ns) is not before `trusted` is read again."""

    root: Subtree | None = None
    trusted: int = 0
    links: int = 0
    missing: frozenset[bytes] = frozenset()  # packs that have vanished
    afresh: bool = False  # its tree is scattered: write all pages again

    def is_same(self, old: Old, st: Status) -> bool:
        """Whether an entry is as the previous point has it, and its data is still there."""
        e = old.entry
        if not (
            e.inode == st.st_ino
            and e.ctime == st.st_ctime_ns
            and e.mtime == st.st_mtime_ns
            and (e.size == st.st_size or e.kind != _FILE)
            and e.mode == st.st_mode & 0o7777
            and e.kind == kind_of(st.st_mode)
            and e.ctime < self.trusted
        ):
            return False
        return not self.missing or self.has_all(old)

    def is_same_folder(self, old: Old, now: Node, *, above: bool) -> bool:
        """Whether a folder's own metadata are unchanged. The times of one above what was asked for are not ours."""
        e = old.entry
        if e.mode != now.mode or e.inode != now.inode or old.leaf.owner(e) != now.owner:
            return False
        times = e.mtime == now.mtime and e.ctime == now.ctime and e.size == now.size and e.ctime < self.trusted
        if not times and not above:
            return False
        return not self.missing or self.has_all(old)

    def has_all(self, old: Old) -> bool:
        """Whether nothing that an entry refers to lies in a pack that has vanished."""
        (e, leaf), missing = old, self.missing
        windows = leaf.windows(e)
        values = [*(leaf.xattrs(e) or {}).values(), *(windows.values() if windows is not None else ())]
        if any(isinstance(v, OutOfLine) and v.at.pack in missing for v in values):
            return False
        for pieces in leaf.contents(e):
            if isinstance(pieces, Paged):
                return False  # it is read again, rather than looked up page by page
            if any(isinstance(p, Extent) and p.pack in missing for p in pieces):
                return False
        return True


class ByChange(Previous):
    """The same, where the time of the last change tells of every change, and to ask for the mode would cost."""

    def is_same(self, old: Old, st: Status) -> bool:
        e = old.entry
        if not (
            e.inode == st.st_ino
            and e.ctime == st.st_ctime_ns
            and e.mtime == st.st_mtime_ns
            and (e.size == st.st_size or e.kind != _FILE or (e.more is not None and "efs" in e.more))
            and e.kind == kind_of(st.st_mode)
            and e.ctime < self.trusted
        ):
            return False
        return not self.missing or self.has_all(old)


class Noting:
    """A page source that notes which pages of a folder were read through it."""

    def __init__(self, inner: PageSource, note: Callable[[Extent], None]) -> None:
        self._inner, self._note = inner, note
        self.piece_leaf, self.piece_index = inner.piece_leaf, inner.piece_index

    def leaf(self, at: Extent) -> Leaf:
        self._note(at)
        return self._inner.leaf(at)

    def folder_index(self, at: Extent) -> FolderIndex:
        self._note(at)
        return self._inner.folder_index(at)


class Frame:
    """A folder being walked: what it was, and its writer if it has one."""

    __slots__ = ("name", "node", "parent", "passed", "previous", "seen", "writer")

    def __init__(self, parent: Frame | None, previous: Subtree | None, node: Node | None) -> None:
        self.parent = parent
        self.previous = previous
        self.node = node
        self.passed = 0  # entries of `previous` met unchanged while there was no writer
        self.name = b""  # the entry being looked at
        self.seen: list[Extent] = []  # pages of `previous` that were read
        self.writer: FolderWriter | None = None
