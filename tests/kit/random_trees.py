"""Vaults with recovery points of random trees, which share pages, and what these refer to by a plain walk."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable

from catalog.direct import DirectSource
from catalog.format.blocks import Buffer, PackKind
from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.records import Point
from catalog.format.values import Hole, NodeKind, OutOfLine, Piece, Subtree
from catalog.format.windows import Stream, Windows
from catalog.tree import Pieces, walk
from catalog.vault import Vault
from tests.kit.drives import ITEM, add_machine, add_point
from tests.kit.vaultmaker import MACHINE, Packer, Trees, file_node, folder_node

Block = tuple[int, bytes, int, int]  # kind, pack, offset, stored


class RandomTrees:
    """Points of a tree that changes at random: files of every shape, out-of-line values, streams, equal folders."""

    def __init__(self, vault: Vault, seed: int, *, machine: bytes = MACHINE, target: int = 20_000) -> None:
        self.rng = random.Random(seed)
        self.vault, self.machine = vault, machine
        self.points: list[Point] = []
        self._data = Packer(vault, PackKind.DATA, target, machine=machine)
        self._trees = Trees(vault, machine=machine)
        self._target = target
        self._pool: list[Extent] = []
        self._tree: dict[bytes, object] = {}
        self._packed: dict[int, Subtree | None] = {}
        add_machine(vault, machine)
        for _ in range(20):
            self._edit(self._tree, 0)

    def point(self, edits: int = 3) -> Point:
        """Another point, after this many changes."""
        for _ in range(edits):
            self._edit(self._tree, 0)
        if self.rng.random() < 0.1:
            self._trees.forget()  # equal pages are written at other places, too
        top = self._folder(self._tree)
        self._data.finish()
        root = None if top is None else self._trees.root(top)
        number = len(self.points) + 1
        at = 1_790_000_000 * 10**9 + number * 3600 * 10**9
        point = add_point(self.vault, root, number, at, machine=self.machine, item=ITEM)
        self.points.append(point)
        return point

    def _edit(self, folder: dict[bytes, object], depth: int) -> None:
        rng = self.rng
        folders = [f for f in folder.values() if isinstance(f, dict)]
        if folders and depth < 5 and rng.random() < 0.6:
            self._edit(rng.choice(folders), depth + 1)
            return
        name = f"{'name' * rng.choice((1, 1, 20))}-{rng.randrange(300)}".encode()
        what = rng.random()
        if what < 0.15 and folder:
            del folder[rng.choice(list(folder))]
        elif what < 0.4:
            folder[name] = {}
        elif what < 0.5 and folders:
            folder[name] = rng.choice(folders)  # an equal folder; also changed together with the other
        else:
            for n in range(rng.choice((1, 1, 30))):
                folder[name + b"%d" % n] = self._file(name + b"%d" % n)

    def _folder(self, folder: dict[bytes, object]) -> Subtree | None:
        rows = []
        for name, one in sorted(folder.items()):
            if isinstance(one, dict):
                rows.append(folder_node(name, self._folder(one), random.Random(0)))
            else:
                assert isinstance(one, Node)
                rows.append(one)
        return self._trees.folder(rows) if rows else None

    def _file(self, name: bytes) -> Node:
        rng = self.rng
        pieces = self._pieces(rng.choice((0, 1, 1, 1, 3, 40, 2500 if rng.random() < 0.05 else 2)))
        node = file_node(name, self._trees.pieces(pieces), sum(p.length for p in pieces), rng)
        if rng.random() < 0.2:
            node.xattrs = {b"user.small": b"x", b"user.large": OutOfLine(self._trees.write(rng.randbytes(5000)))}
        if rng.random() < 0.2:
            some = self._pieces(rng.choice((1, 40)))
            value = OutOfLine(self._trees.write(rng.randbytes(6000))) if rng.random() < 0.5 else b"descriptor"
            stream = Stream("stream", sum(p.length for p in some), self._trees.pieces(some))
            node.windows = Windows(32, security=value, streams=[stream])
        if rng.random() < 0.1:
            node.kind, node.content, node.size = NodeKind.SYMLINK, b"target", 6
        return node

    def _pieces(self, count: int) -> list[Piece]:
        rng, pieces = self.rng, list[Piece]()
        for _ in range(count):
            if rng.random() < 0.1:
                pieces.append(Hole(rng.randrange(1, 10**6)))
                continue
            if len(self._pool) < 40 or rng.random() < 0.1:
                chunks = [os.urandom(rng.randrange(1, 300)) for _ in range(rng.randrange(1, 6))]
                self._pool += self._data.block(chunks)
            pieces.append(rng.choice(self._pool))
        return pieces


class _Noting(DirectSource):
    """Notes the extents of the chunks that are read."""

    def __init__(self, vault: Vault) -> None:
        super().__init__(vault)
        self.read: set[Extent] = set()

    def chunk(self, at: Extent) -> Buffer:
        self.read.add(at)
        return super().chunk(at)


def referred(vault: Vault, points: Iterable[Point]) -> set[Block]:
    """All blocks that points refer to: by a plain walk of each, which knows nothing of pages that are shared."""
    source, found = _Noting(vault), set[Block]()
    for point in points:
        for _path, one in walk(source, point.root.subtree() if point.root else None):
            for content in one.leaf.contents(one.entry):
                found |= {
                    (PackKind.DATA, piece.pack, piece.offset, piece.stored)
                    for piece in Pieces(source, content).all()
                    if isinstance(piece, Extent)
                }
            windows = one.leaf.windows(one.entry)
            values = list((one.leaf.xattrs(one.entry) or {}).values()) + (windows.values() if windows else [])
            for value in values:
                if isinstance(value, OutOfLine):
                    source.chunk(value.at)
    return found | {(PackKind.TREE, at.pack, at.offset, at.stored) for at in source.read}
