"""The kernel's node ids: inode numbers, for which the tree of a point needs no table.

An entry of a point is found by its number alone, through the totals of folders; so memory doesn't grow with the
number of nodes that the kernel knows. Only the kernel's lookup count of each node is kept, in a byte: once the
kernel has forgotten a node, nothing may be pushed to it. Other nodes (folders above points, `.versions`) are kept
until they are forgotten.
"""

from __future__ import annotations

import errno
import threading
from bisect import bisect_left
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from cache.memory import Lru
from cache.reader import Reader, WouldWait
from catalog.errors import NotFound
from mount.drivers.base import Refusal
from mount.drivers.kernel.protocol import ROOT_ID
from mount.view.nodes import LINK_BIT, POINT_SHIFT, Folder, Link, Node, View
from mount.view.point import Tree, TreeFolder, TreePage

_FOLDERS = 4096  # kept ready
_RECENT = 12  # pages searched before the way from the root: a walk returns to the folders above
_ROW = 256  # counts in one row
_IN_POINT = (1 << POINT_SHIFT) - 1  # the bits of a number that say which node of a point it is


class Counts:
    """How often each node was sent to the kernel. About one byte for each node of a walk. Thread-safe.

    The roots of points are far apart: each would have a row of its own, so they are counted by themselves.
    """

    def __init__(self) -> None:
        self._roots: dict[int, int] = {}
        self._rows: dict[int, bytearray] = {}
        self._more: dict[int, int] = {}  # the excess over 255
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """The number of nodes that the kernel knows."""
        with self._lock:
            return len(self._roots) + sum(_ROW - row.count(0) for row in self._rows.values())

    @property
    def rows(self) -> int:
        return len(self._rows)

    def __contains__(self, node_id: int) -> bool:
        row = self._rows.get(node_id >> 8)
        return node_id in self._roots or (row is not None and row[node_id & 255] > 0)

    def add(self, node_ids: Iterable[int]) -> None:
        rows = self._rows
        with self._lock:
            for node_id in node_ids:
                if node_id & _IN_POINT == ROOT_ID:
                    self._roots[node_id] = self._roots.get(node_id, 0) + 1
                    continue
                row = rows.get(node_id >> 8)
                if row is None:
                    row = rows[node_id >> 8] = bytearray(_ROW)
                n = row[node_id & 255]
                if n < 255:
                    row[node_id & 255] = n + 1
                else:
                    self._more[node_id] = self._more.get(node_id, 0) + 1

    def forget(self, node_id: int, times: int) -> bool:
        """Lower the count; returns whether the kernel no longer knows the node."""
        with self._lock:
            if node_id in self._roots:
                self._roots[node_id] -= times
                if self._roots[node_id] <= 0:
                    del self._roots[node_id]
                return node_id not in self._roots
            row = self._rows.get(node_id >> 8)
            if row is None:
                return True
            left = row[node_id & 255] + self._more.pop(node_id, 0) - times
            if left > 255:
                self._more[node_id] = left - 255
            row[node_id & 255] = max(0, min(left, 255))
            if left > 0:
                return False
            if row.count(0) == _ROW:
                del self._rows[node_id >> 8]
            return True


class Named(NamedTuple):
    """A node that is found by its name only."""

    parent: int
    name: bytes
    node: Node


class Nodes:
    """Finds nodes by the ids that the kernel uses for them. Thread-safe."""

    def __init__(self, view: View, reader: Reader) -> None:
        self.counts = Counts()
        self._reader = reader
        self._root = view.root
        self._named: dict[int, Named] = {}
        self._links: dict[int, int] = {}  # inode number of a file with several links -> number of one of them
        self._trees: dict[int, Tree] = {}
        self._folders: Lru[int, Folder] = Lru(_FOLDERS)
        self._recent: list[TreePage] = []  # most recent first; replaced, never changed
        self._lock = threading.Lock()
        self._open(view.root)

    def __len__(self) -> int:
        """The number of nodes for which more than a count is kept."""
        return len(self._named) + len(self._links)

    # --- nodes that the kernel gets and forgets -----------------------------------------------------------

    def looked_up(
        self,
        node_ids: Iterable[int],
        *,
        links: Iterable[tuple[int, int]] = (),
        named: Iterable[Named] = (),
    ) -> None:
        """Count nodes that are about to be sent to the kernel. Call it before the answer is sent.

        `links` are node ids of files with several links, and the number of one link of each; `named` are nodes that
        are found by their names only.
        """
        with self._lock:  # with the count: a node that is forgotten meanwhile must not lose what is kept for it
            self.counts.add(node_ids)
            for node_id, number in links:
                self._links[node_id] = number
            for row in named:
                self._named[row.node.attributes.inode] = row

    def forget(self, rows: Iterable[tuple[int, int]]) -> None:
        """Note that the kernel dropped lookups of nodes: node ids, and how many of each."""
        with self._lock:
            for node_id, times in rows:
                if self.counts.forget(node_id, times):
                    self._named.pop(node_id, None)
                    self._links.pop(node_id, None)
                    self._folders.pop(node_id)

    def oldest_points(self, count: int) -> list[int]:
        """The roots of points that were sent to the kernel first, and not opened since: so many at most."""
        with self._lock:
            found = (n for n in self._named if n & _IN_POINT == ROOT_ID and n >> POINT_SHIFT not in self._trees)
            return list(islice(found, count))

    # --- from node ids to nodes ---------------------------------------------------------------------------

    def place(self, node_id: int) -> tuple[TreePage, int] | None:
        """The page of an entry in the tree of a point, and its index; None for other nodes. Raises NotFound."""
        if node_id == ROOT_ID or node_id in self._named:
            return None
        number = self._links.get(node_id, 0) if node_id & LINK_BIT else node_id & (LINK_BIT - 1)
        tree = self._trees.get(node_id >> POINT_SHIFT)
        if tree is None:
            raise NotFound("the kernel asked for a node that was never sent to it")
        recent = self._recent
        for page in recent:
            numbers = page.numbers
            if numbers[0] <= number <= numbers[-1] and page.tree is tree:
                n = bisect_left(numbers, number)
                if numbers[n] == number:
                    self.seen(page)
                    return page, n
        _names, page, n = tree.place(number)
        self.seen(page)
        return page, n

    def seen(self, page: TreePage) -> None:
        """Search this page first from now on: requests for its entries are likely."""
        recent = self._recent
        if not recent or page is not recent[0]:
            self._recent = [page, *([p for p in recent if p is not page] if page in recent else recent)][:_RECENT]

    def node(self, node_id: int) -> Node:
        """The node as it is now. Raises NotFound, WouldWait, and as `Folder.lookup`."""
        place = self.place(node_id)
        if place is not None:
            page, n = place
            return page.node(n)
        return self._node_by_name(node_id)

    def _node_by_name(self, node_id: int) -> Node:
        if node_id == ROOT_ID:
            return self._root
        parent, name, node = self._named[node_id]
        if not node.changes or isinstance(node, Link):  # a link to another target has another number
            return node
        if self._reader.must_not_wait():
            raise WouldWait
        node = self.folder(parent).lookup(name)
        if node.attributes.inode != node_id:
            raise NotFound("the name means another node now")
        return node

    def folder(self, node_id: int) -> Folder:
        """The folder to list or to search. Raises NotFound, WouldWait, and as `Folder.opened`.

        Above the points, any use of a folder may wait: records are fetched there, and points listed again.
        """
        folder = self._folders.get(node_id)
        if folder is None:
            place = self.place(node_id)
            if place is None and self._reader.must_not_wait():
                raise WouldWait
            node = place[0].node(place[1]) if place is not None else self._node_by_name(node_id)
            if not isinstance(node, Folder):
                raise Refusal(errno.ENOTDIR)
            folder = self._open(node)
            if not node.changes:
                self._folders.put(node_id, folder)
        if not isinstance(folder, TreeFolder) and self._reader.must_not_wait():
            raise WouldWait
        return folder

    def _open(self, node: Folder) -> Folder:
        folder = node.opened()
        if isinstance(folder, TreeFolder):
            self._trees.setdefault(folder.tree.base >> POINT_SHIFT, folder.tree)
        return folder

    def path(self, node_id: int) -> bytes:
        """The path of a node, for messages; its number if the path can't be determined."""
        try:
            return self._path(node_id)
        except Exception:  # noqa: BLE001 - most likely the error that is being reported
            return b"inode %d" % node_id

    def _path(self, node_id: int) -> bytes:
        if node_id == ROOT_ID:
            return b""
        named = self._named.get(node_id)
        if named is not None:
            return self._path(named.parent) + b"/" + named.name
        number = self._links[node_id] if node_id & LINK_BIT else node_id & (LINK_BIT - 1)
        names, _page, _n = self._trees[node_id >> POINT_SHIFT].place(number)
        base = node_id >> POINT_SHIFT << POINT_SHIFT
        return self._path(base | ROOT_ID) + b"/" + b"/".join(names)
