"""Small files, and pushing: reading them in order puts their neighbours in the same block into the kernel's cache.

Many small files share a block. Once it is decoded for one of them, contents that are pushed before the kernel asks
for them cost no request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from cache.reader import Reader, WouldWait
from catalog.format.blocks import Buffer, PackKind
from catalog.format.packs import Extent
from catalog.format.values import NodeKind
from mount.drivers.kernel.connection import Connection
from mount.drivers.kernel.nodes import Nodes
from mount.view.point import TreePage

SMALL = 256 << 10  # bytes; smaller files share blocks
IN_ORDER = 2  # small files read in order, before their neighbours are pushed
NEAR = 16  # entries that may be skipped in between
PUSH_BYTES = 2 << 20  # pushed for one read, at most
PUSH_FILES = 1024


class SmallFiles:
    """Answers reads of small files. Thread-safe. `send` answers a request with contents."""

    def __init__(
        self,
        nodes: Nodes,
        reader: Reader,
        connection: Connection,
        send: Callable[[int, Sequence[Buffer]], None],
    ) -> None:
        self.pushed_files = self.pushed_bytes = 0
        self._nodes = nodes
        self._reader = reader
        self._store = connection.store
        self._send = send
        self._pushing = threading.Lock()
        self._last = -NEAR  # number of the file read last, or pushed last
        self._in_order = 0  # small files read in order

    def read(self, unique: int, node_id: int, page: TreePage, n: int, at: Extent, offset: int, size: int) -> None:
        """Answer a read of a page's n-th entry, whose extent is `at`. Raises Ended, and as `Reader.chunk`."""
        data = self._reader.chunk(PackKind.DATA, at)
        number = page.numbers[n]
        step = number - self._last
        if step and not offset:
            self._in_order = self._in_order + 1 if 0 < step <= NEAR else 0
            self._last = number
        if self._in_order >= IN_ORDER and not offset:
            if self._reader.must_not_wait():
                raise WouldWait
            # Before the answer, so that the next files are in the cache when the caller gets to them. By one thread
            # at a time: a push may wait until other threads have answered a read of the same page.
            if self._pushing.acquire(blocking=False):
                try:
                    self._push_after(node_id, page, n, at)
                finally:
                    self._pushing.release()
        data = data[offset : offset + size]
        self._reader.counters.add("bytes_served", len(data))
        self._send(unique, (data,))

    def _push_after(self, read: int, page: TreePage, n: int, at: Extent) -> None:
        """Push the files after the n-th in the same block, if the kernel knows them.

        Not under another name of the file that is being `read` (its node id): the kernel would let the push wait
        for the answer to that read, which follows the push.
        """
        left, files = PUSH_BYTES, PUSH_FILES
        known, chunk = self._nodes.counts, self._reader.chunk
        while True:
            for m in range(n + 1, len(page.names)):
                extent = extent_of_small(page, m)
                if extent is None:
                    continue
                if (extent.pack, extent.offset) != (at.pack, at.offset):
                    self._reader.prepare(extent)
                    return
                inode, _bits = page.kind(m)
                if inode == read or inode not in known:
                    continue
                left, files = left - extent.length, files - 1
                if left < 0 or files < 0:
                    return
                if not self._store(inode, chunk(PackKind.DATA, extent)):
                    continue
                self.pushed_files += 1
                self.pushed_bytes += extent.length
                self._last = page.numbers[m]
            following = page.tree.cached_page(page.end)
            if following is None:
                return
            page, n = following, -1


def extent_of_small(page: TreePage, n: int) -> Extent | None:
    """The only extent of a small file; None for any other entry. Raises Damaged."""
    e = page.leaf.entries[n]
    if e.kind != NodeKind.FILE or not 0 < e.size < SMALL or type(e.content) is not list or len(e.content) != 1:
        return None
    pieces = page.leaf.pieces(e)
    piece = pieces[0] if isinstance(pieces, list) else None
    return piece if isinstance(piece, Extent) and piece.length == e.size else None
