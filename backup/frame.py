"""A folder that is being walked, and its counterpart in the previous point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic

from backup.exclusions import Layer
from backup.previous import OldEntry
from backup.selection import Wanted
from backup.systems.base import Folder
from backup.systems.places import Place
from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.pages import FolderIndex, Leaf
from catalog.format.values import Subtree
from catalog.format.writing import FolderWriter
from catalog.patterns import Rule
from catalog.tree import PageSource, leaves


class Frame(Generic[Folder]):
    """One level of the walk. `node` is None at the top. `depth` counts the folders above.

    `previous` is the folder's subtree in the previous point; `unchanged` is its entry there, if the folder's own
    metadata is the same. `handle` is None if the folder is saved as an empty one. In a folder above the given
    paths, `wanted` has the names that lead to them. `layer` has the rules about the folder's entries.
    """

    __slots__ = (
        "depth", "device", "example", "handle", "layer", "left_out", "name", "names", "node", "old", "older",
        "parent", "passed", "places", "previous", "saved", "seen", "unchanged", "wanted", "writer",
    )  # fmt: skip

    def __init__(
        self,
        parent: Frame[Folder] | None,
        node: Node | None,
        previous: Subtree | None,
        unchanged: OldEntry | None,
    ) -> None:
        self.parent, self.node = parent, node
        self.depth: int = parent.depth + 1 if parent is not None else 0
        self.previous, self.unchanged = previous, unchanged
        self.handle: Folder | None = None
        self.device = 0
        self.wanted: Wanted | None = None
        self.places: dict[bytes, Place[Folder]] | None = None  # what stands for folders in this one, or below
        self.names: Iterator[bytes] = iter(())  # entries of the source that are still to come
        self.name = b""  # the current entry
        self.older: Iterator[OldEntry] = iter(())  # entries of `previous` after `old`
        self.old: OldEntry | None = None  # the next entry of `previous`
        self.passed = 0  # unchanged entries of `previous` passed without a writer
        self.seen: list[Extent] = []  # pages of `previous` that were read
        self.writer: FolderWriter | None = None
        self.layer: Layer | None = None
        self.saved = 0  # entries here and below that are saved, without folders
        self.left_out = 0  # entries here and below that rules leave out
        self.example: Rule | None = None  # one of these rules

    def rest(self, pages: PageSource, *, also: bool) -> Iterator[Node]:
        """The entries of the previous point after the current one of this folder; `also` includes that one."""
        for page in leaves(pages, self.previous, 0, start=self.name):
            for e in page.leaf.entries:
                if e.name > self.name or (also and e.name == self.name):
                    yield page.leaf.node(e)

    def has_nothing(self) -> bool:
        """Whether this folder was asked for, and rules leave out all its files. To be called once, at its end.

        Adds what is counted to the folder above.
        """
        above = self.parent
        if above is not None and self.left_out + self.saved:
            above.left_out, above.saved = above.left_out + self.left_out, above.saved + self.saved
            above.example = self.example or above.example
        return self.is_asked and self.left_out > 0 and not self.saved

    def stands_for(self, name: bytes) -> Folder | None:
        """The open folder that stands for a name here; None if it stands for itself."""
        place = self.places.get(name) if self.places else None
        return place.handle if place is not None else None

    def places_below(self, name: bytes) -> dict[bytes, Place[Folder]] | None:
        place = self.places.get(name) if self.places else None
        return place.below if place is not None else None

    @property
    def is_asked(self) -> bool:
        """Whether the folder itself was given as a path."""
        above = self.parent
        return self.wanted is None and (above is None or above.wanted is not None)

    def current(self) -> bytes:
        """The path of the current entry."""
        return self.path(self.name)

    def path(self, name: bytes = b"") -> bytes:
        """The path of this folder, or of a name in it: from the root, without a leading slash.

        Built when it is asked for: if each of 4,000 nested folders had its own, they would take gigabytes.
        """
        parts = [name] if name else []
        at: Frame[Folder] | None = self
        while at is not None and at.node is not None:
            parts.append(at.node.name)
            at = at.parent
        return b"/".join(reversed(parts))


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
