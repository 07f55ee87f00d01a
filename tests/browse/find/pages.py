"""Folders made of nodes, whose pages are kept in memory, and can be damaged or held back one by one."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from catalog.errors import Damaged
from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.values import NodeKind, Subtree, Totals
from catalog.format.writing import write_folder
from catalog.tree import ChunkSource
from tests.kit.vaultmaker import OWNER

PACK = bytes(range(16))


class Pages(ChunkSource):
    """A source of pages. `reads` counts them by offset; those in `bad` are damaged, `held` ones wait for `go`."""

    def __init__(self) -> None:
        self.reads: Counter[int] = Counter()
        self.bad: set[int] = set()
        self.fails: list[Exception] = []  # what the next reads raise
        self.held: set[int] = set()
        self.go, self.waiting = threading.Event(), threading.Event()
        self._pages: list[bytes] = []

    def write(self, page: bytes) -> Extent:
        self._pages.append(page)
        number = len(self._pages)
        return Extent(PACK, number, 1, 0, len(page), number.to_bytes(16))

    def chunk(self, at: Extent) -> bytes:
        self.reads[at.offset] += 1
        if at.offset in self.held:
            self.waiting.set()
            assert self.go.wait(60)
        with suppress(IndexError):
            raise self.fails.pop()
        if at.offset in self.bad:
            raise Damaged(f"page {at.offset} is damaged")
        return self._pages[at.offset - 1]

    def folder(self, nodes: Iterable[Node]) -> Subtree:
        found = write_folder(sorted(nodes, key=lambda n: n.name), self.write)
        assert found is not None
        return found

    def leaves(self, folder: Subtree) -> list[int]:
        """The offsets of the pages of a folder's entries, in order."""
        level = [folder.at]
        for _ in range(folder.level):
            level = [
                index.at(child) for at in level for index in [self.folder_index(at)] for child in index.children
            ]
        self.reads.clear()
        return [at.offset for at in level]


def node(name: bytes, kind: int = NodeKind.FILE, **fields: Any) -> Node:
    row: dict[str, Any] = {"mode": 0o644, "owner": OWNER, "size": 0, "mtime": 1, "ctime": 1, "inode": 1}
    if kind == NodeKind.FILE:
        row["content"] = []
    return Node(name, kind, **(row | fields))


def folder_of(name: bytes, entries: int = 0, files: int = 0, size: int = 0) -> Node:
    """A folder's entry, which says that there is so much below it."""
    at = Extent(PACK, 999, 1, 0, 1, bytes(16))
    below = Subtree(0, at, Totals(entries, files, size, 0)) if entries else None
    return node(name, NodeKind.FOLDER, content=below)


def many(count: int, seed: int = 1) -> list[Node]:
    """Files and folders with names and values of all sorts."""
    rng = random.Random(seed)
    names: set[bytes] = set()
    while len(names) < count:
        kind = rng.random()
        if kind < 0.2:
            names.add(rng.choice((b"Report ", b"report ", b"REPORT-")) + b"%d" % rng.randrange(10 * count))
        elif kind < 0.3:
            names.add(f"{rng.choice('éÉñß')}{rng.randrange(10 * count)}.txt".encode())
        elif kind < 0.4:
            names.add(b"\xff\xfe" + rng.randbytes(4).replace(b"/", b"_").replace(b"\0", b"_"))
        else:
            names.add(
                b"file-%07d.%s" % (rng.randrange(10 * count), rng.choice((b"txt", b"JPG", b"jpg", b"tar.gz")))
            )
    found = []
    for name in sorted(names):
        if rng.random() < 0.1:
            found.append(folder_of(name, rng.randrange(5), 1, rng.randrange(10**6)))
        else:
            found.append(node(name, size=rng.randrange(1000), mtime=rng.randrange(2000) * 10**9))
    return found
