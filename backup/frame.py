"""A folder that is being walked, and its counterpart in the previous point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic

from backup.previous import OldEntry
from backup.selection import Wanted
from backup.systems.base import Folder
from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.pages import FolderIndex, Leaf
from catalog.format.values import Subtree
from catalog.format.writing import FolderWriter
from catalog.tree import PageSource


class Frame(Generic[Folder]):
    """One level of the walk. `node` is None at the top.

    `previous` is the folder's subtree in the previous point; `unchanged` is its entry there, if the folder's own
    metadata is the same. `handle` is None if the folder is saved as an empty one. In a folder above the given
    paths, `wanted` has the names that lead to them.
    """

    __slots__ = (
        "device", "handle", "name", "names", "node", "old", "older", "parent", "passed", "path", "previous", "seen",
        "unchanged", "wanted", "writer",
    )  # fmt: skip

    def __init__(
        self,
        parent: Frame[Folder] | None,
        node: Node | None,
        path: bytes,
        previous: Subtree | None,
        unchanged: OldEntry | None,
    ) -> None:
        self.parent, self.node, self.path = parent, node, path
        self.previous, self.unchanged = previous, unchanged
        self.handle: Folder | None = None
        self.device = 0
        self.wanted: Wanted | None = None
        self.names: Iterator[bytes] = iter(())  # entries of the source that are still to come
        self.name = b""  # the current entry
        self.older: Iterator[OldEntry] = iter(())  # entries of `previous` after `old`
        self.old: OldEntry | None = None  # the next entry of `previous`
        self.passed = 0  # unchanged entries of `previous` passed without a writer
        self.seen: list[Extent] = []  # pages of `previous` that were read
        self.writer: FolderWriter | None = None


class RecordingPages:
    """A page source that reports the page of a folder before it is read. Pages of files are not reported."""

    def __init__(self, inner: PageSource, record: Callable[[Extent], None]) -> None:
        self._inner, self._record = inner, record
        self.piece_leaf, self.piece_index = inner.piece_leaf, inner.piece_index

    def leaf(self, at: Extent) -> Leaf:
        self._record(at)
        return self._inner.leaf(at)

    def folder_index(self, at: Extent) -> FolderIndex:
        self._record(at)
        return self._inner.folder_index(at)
