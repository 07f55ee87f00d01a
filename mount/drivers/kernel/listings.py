"""Listing folders: OPENDIR, READDIR, READDIRPLUS and RELEASEDIR."""

from __future__ import annotations

import errno
import itertools
import math
from bisect import bisect_right

from cache.memory import Lru
from cache.reader import Reader, WouldWait
from catalog.format.blocks import Buffer
from mount.drivers.base import OpenFolder, Refusal
from mount.drivers.kernel import protocol
from mount.drivers.kernel.ahead import Ahead, Ready, encode
from mount.drivers.kernel.connection import Connection
from mount.drivers.kernel.nodes import Named, Nodes
from mount.drivers.kernel.protocol import Opened
from mount.drivers.kernel.records import FIRST_COOKIE, Encoded, plain, record_in
from mount.view.point import TreeFolder, TreePage

KEPT = 100_000  # points that were listed and are kept for the kernel, some 500 bytes each, if it can be asked
_PRUNED = 4096  # forgotten with one message
ENCODED = 64  # pages of folders kept encoded, some 25 KB each


class Answer:
    """The entries of one answer, up to its size (bytes)."""

    __slots__ = ("links", "named", "node_ids", "parts", "room")

    def __init__(self, size: int) -> None:
        self.parts: list[Buffer] = []
        self.node_ids: list[int] = []  # of the entries that the kernel counts as looked up
        self.links: list[tuple[int, int]] = []  # of these: files with several links, and the number of one link
        self.named: list[Named] = []  # of these: found by their names only
        self.room = size

    def add(self, row: bytes) -> bool:
        """Add an entry; False if there is no room for it."""
        if len(row) > self.room:
            return False
        self.room -= len(row)
        self.parts.append(row)
        return True

    def add_page(self, page: Encoded, n: int) -> int:
        """Add as many entries as fit, from the n-th on; returns the index after the last."""
        starts = page.starts
        end = bisect_right(starts, starts[n] + self.room) - 1
        if end > n:
            self.room -= starts[end] - starts[n]
            self.parts.append(page.data[starts[n] : starts[end]])
            self.node_ids += filter(None, page.node_ids[n:end])
        return end


class Listings:
    """Answers requests for listings. Folders of a point need no handle: cookies are numbers of entries."""

    def __init__(self, nodes: Nodes, reader: Reader, connection: Connection, *, changes: bool) -> None:
        """`changes`: whether folders of the view may change."""
        self.encoded: Lru[tuple[int, int], Encoded] = Lru(ENCODED)
        self.ahead = Ahead(reader, self.encoded)
        self._nodes = nodes
        self._reader = reader
        self._send, self._prune = connection.send, connection.prune
        self._prune_at: float = KEPT
        self._changes = changes
        self._open: dict[int, OpenFolder] = {}
        self._handles = itertools.count(1)

    def opendir(self, unique: int, node_id: int, _body: memoryview) -> None:
        if not self._changes:
            # From then on the kernel opens no folders, and keeps their listings.
            raise Refusal(errno.ENOSYS)
        folder = self._nodes.folder(node_id)
        handle, flags = 0, Opened.KEEP_CACHE | Opened.CACHE_DIR
        if not isinstance(folder, TreeFolder):
            handle, flags = next(self._handles), Opened(0)
            self._open[handle] = OpenFolder(folder)
        self._send(unique, (protocol.OPEN_OUT.pack(handle, flags, 0),))

    def releasedir(self, unique: int, _node_id: int, body: memoryview) -> None:
        self._open.pop(protocol.RELEASE_IN.unpack_from(body)[0], None)
        self._send(unique)

    def readdir(self, unique: int, node_id: int, body: memoryview) -> None:
        self._list(unique, node_id, body, plus=False)

    def readdirplus(self, unique: int, node_id: int, body: memoryview) -> None:
        ready = self.ahead.ready.get(node_id)
        if ready is not None:
            _handle, cookie, size, *_ = protocol.READ_IN.unpack_from(body)
            if cookie == 0 and ready.size <= size:
                return self._list_ready(unique, ready)
            if cookie == ready.end:
                self._send(unique)
                return
        self._list(unique, node_id, body, plus=True)

    def _list_ready(self, unique: int, ready: Ready) -> None:
        for page in ready.pages:
            self._nodes.seen(page)
        self._nodes.looked_up(ready.node_ids, links=ready.links)
        self.ahead.used(ready)
        if not self._send(unique, ready.parts):
            self._nodes.forget((counted, 1) for counted in ready.node_ids)

    def _list(self, unique: int, node_id: int, body: memoryview, *, plus: bool) -> None:
        handle, cookie, size, *_ = protocol.READ_IN.unpack_from(body)
        listing = self._open.get(handle) if handle else None
        answer = Answer(size)
        if listing is not None and self._reader.must_not_wait():
            raise WouldWait
        folder = listing.folder if listing is not None else self._nodes.folder(node_id)
        for n, name in enumerate((b".", b".."), 1):
            if cookie < n:
                dots = _dots(node_id, name, n, plus)
                if not answer.add(dots):
                    break
        else:
            after = max(cookie - FIRST_COOKIE, 0)
            try:
                if isinstance(folder, TreeFolder):
                    page = self._list_tree(answer, folder, after, plus)
                    if plus:
                        self.ahead.listed(folder, page)
                else:
                    self._list_named(answer, listing or OpenFolder(folder), node_id, after, plus)
            except Exception:
                # An answer may be short: the request for the rest meets what is damaged, or not here yet.
                if not answer.parts:
                    raise
        self._nodes.looked_up(answer.node_ids, links=answer.links, named=answer.named)
        if not self._send(unique, answer.parts):
            self._nodes.forget((counted, 1) for counted in answer.node_ids)
        if answer.named:
            self._let_go()

    def _let_go(self) -> None:
        """Have the kernel forget points that nobody uses, the first listed first, if it knows more than KEPT."""
        known = len(self._nodes)
        if known <= KEPT:
            self._prune_at = KEPT
        if known <= self._prune_at:
            return
        self._prune_at = known + KEPT // 4  # it forgets them later, but those that are in use not at all
        oldest = self._nodes.oldest_points(known - KEPT // 2)
        for start in range(0, len(oldest), _PRUNED):
            if not self._prune(oldest[start : start + _PRUNED]):
                self._prune_at = math.inf
                return

    def _list_tree(self, answer: Answer, folder: TreeFolder, after: int, plus: bool) -> TreePage | None:
        """Add entries; returns the page of the last."""
        page = None
        while (found := folder.after(after)) is not None:
            page, n = found
            if not plus:
                for m in range(n, len(page.names)):
                    if not answer.add(plain(*page.kind(m), page.names[m], page.numbers[m] + FIRST_COOKIE)):
                        return page
            else:
                encoded = encode(page, self.encoded)
                self._nodes.seen(page)
                end = answer.add_page(encoded, n)
                for m in encoded.links:
                    if n <= m < end:
                        answer.links.append((encoded.node_ids[m], page.numbers[m]))
                if end < len(page.names):
                    return page
            after = page.numbers[-1]
        return page

    def _list_named(self, answer: Answer, listing: OpenFolder, node_id: int, position: int, plus: bool) -> None:
        for after, page, n in listing.from_position(position):
            name = page.names[n]
            if not plus:
                if not answer.add(plain(*page.kind(n), name, after + FIRST_COOKIE)):
                    return
                continue
            node = page.node(n)
            if not answer.add(record_in(listing.folder, node, name, after + FIRST_COOKIE)):
                return
            answer.named.append(Named(node_id, name, node))
            answer.node_ids.append(node.attributes.inode)


def _dots(node_id: int, name: bytes, cookie: int, plus: bool) -> bytes:
    row = plain(node_id, 0o040000, name, cookie)
    return bytes(128) + row if plus else row
