"""A folder that is being walked, beside what the previous point has of it."""

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

    `unchanged` is the folder's entry in the previous point if its own metadata are the same, `previous` what that
    point has in it. `handle` is None where nothing in the folder is walked. `wanted` names the only entries that
    count, in a folder above what was asked for.
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
        self.names: Iterator[bytes] = iter(())  # entries of the source that are still to be looked at
        self.name = b""  # the entry being looked at
        self.older: Iterator[OldEntry] = iter(())  # entries of `previous` after `old`
        self.old: OldEntry | None = None  # the next entry of `previous`
        self.passed = 0  # entries of `previous` met unchanged while there was no writer
        self.seen: list[Extent] = []  # pages of `previous` that were read
        self.writer: FolderWriter | None = None


class RecordingPages:
    """A page source that reports the page of a folder before it is read. Pages of files pass unreported."""

    def __init__(self, inner: PageSource, record: Callable[[Extent], None]) -> None:
        self._inner, self._record = inner, record
        self.piece_leaf, self.piece_index = inner.piece_leaf, inner.piece_index

    def leaf(self, at: Extent) -> Leaf:
        self._record(at)
        return self._inner.leaf(at)

    def folder_index(self, at: Extent) -> FolderIndex:
        self._record(at)
        return self._inner.folder_index(at)
