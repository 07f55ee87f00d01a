"""The point that a backup compares with."""

from __future__ import annotations

import stat
from collections.abc import Callable

import msgspec

from backup.systems.base import Status, kept_time
from catalog.errors import Damaged, ObjectNotFound
from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.pages import Entry, Leaf
from catalog.format.values import KINDS, NodeKind, OutOfLine, Paged, Subtree
from catalog.tree import PageSource, check_level

_FILE = int(NodeKind.FILE)
TYPE_BITS = stat.S_IFMT(0o177777)  # the bits of the type; one operation instead of a call for each entry


class OldEntry(msgspec.Struct, frozen=True, gc=False):
    """An entry of the previous point, and its page, whose tables the entry's indexes refer to.

    In a `doubtful` page, some entry refers to a pack that is gone, or that has lost blocks.
    """

    entry: Entry
    leaf: Leaf
    doubtful: bool = False


def _no_pack(pack: bytes) -> bool:
    return False


def _no_block(at: Extent) -> bool:
    return False


class PreviousPoint(msgspec.Struct, frozen=True):
    """The point to compare with. An entry whose ctime (ns) is not before `trusted` is read again.

    Without `compare_modes`, an unchanged ctime shows that the mode is unchanged: on Windows, the mode takes a call.
    `lossy` says whether a pack is gone from the vault or has lost blocks, `gone` whether a block is lost. With
    `pages`, the pages of long files are looked through, too: they may refer to what is gone. `hides` says whether a
    block may not be kept though it is there: upkeep may delete what a point that is not sound refers to.
    """

    root: Subtree | None = None
    trusted: int = 0
    links: int = 0
    lossy: Callable[[bytes], bool] = _no_pack
    gone: Callable[[Extent], bool] = _no_block
    pages: PageSource | None = None
    hides: Callable[[Extent], bool] = _no_block
    afresh: bool = False  # its tree is scattered: write all pages again
    compare_modes: bool = True

    def is_same(self, old: OldEntry, st: Status) -> bool:
        """Whether an entry is unchanged since the previous point, and its data still exists."""
        e, mode = old.entry, st.st_mode
        return (
            e.inode == st.st_ino
            and e.ctime == st.st_ctime_ns
            and (e.mtime == st.st_mtime_ns or e.mtime == kept_time(st.st_mtime_ns))
            and (e.size == st.st_size or e.kind != _FILE or (e.more is not None and "efs" in e.more))
            and (e.mode == mode & 0o7777 or not self.compare_modes)
            and e.kind == KINDS.get(mode & TYPE_BITS)
            and e.ctime < self.trusted
            and ((not old.doubtful and self.pages is None) or self.has_all(old))
        )

    def is_same_folder(self, old: OldEntry, now: Node, *, above: bool) -> bool:
        """Whether a folder's own metadata is unchanged. For a folder `above` a given path, times don't count."""
        e = old.entry
        if e.mode != now.mode or e.inode != now.inode or old.leaf.owner(e) != now.owner:
            return False
        times = e.mtime == now.mtime and e.ctime == now.ctime and e.size == now.size and e.ctime < self.trusted
        if not times and not above:
            return False
        return self._is_there(old)

    def is_doubtful(self, leaf: Leaf) -> bool:
        """Whether some entry of a page refers to a pack that is gone, or that has lost blocks."""
        return any(map(self.lossy, leaf.packs))

    def lacks(self, at: Extent) -> bool:
        """Whether a block is gone from the vault, or may not be kept."""
        return self.gone(at) or self.hides(at)

    def _is_there(self, old: OldEntry) -> bool:
        return (not old.doubtful and self.pages is None) or self.has_all(old)

    def has_contents(self, old: OldEntry, st: Status) -> bool:
        """Whether the point has the contents of a file that is now only in a cloud."""
        e = old.entry
        same = e.kind == _FILE and (e.inode, e.size, e.mtime) == (st.st_ino, st.st_size, st.st_mtime_ns)
        return same and self.has_all(old)

    def has_all(self, old: OldEntry) -> bool:
        """Whether no data of an entry is gone, or may not be kept."""
        e, leaf = old.entry, old.leaf
        windows = leaf.windows(e)
        values = [*(leaf.xattrs(e) or {}).values(), *(windows.values() if windows is not None else ())]
        if any(isinstance(v, OutOfLine) and self.lacks(v.at) for v in values):
            return False
        for pieces in leaf.contents(e):
            if isinstance(pieces, Paged):
                if not self._has_pages(pieces):
                    return False
            elif any(isinstance(p, Extent) and self.lacks(p) for p in pieces):
                return False
        return True

    def _has_pages(self, content: Paged) -> bool:
        """Whether the pages of a long file are there, and (with `pages`) nothing that they refer to is gone."""
        check_level(content.level)
        below = [(content.level, content.at)]
        try:
            while below:
                level, at = below.pop()
                if self.lacks(at):
                    return False
                if self.pages is None:
                    continue
                if level:
                    index = self.pages.piece_index(at)
                    below.extend((level - 1, index.at(child)) for child in index.children)
                elif any(isinstance(p, Extent) and self.lacks(p) for p in self.pages.piece_leaf(at).pieces()):
                    return False
        except (Damaged, ObjectNotFound):
            return False
        return True
