"""Vaults made straight from the format, without backups, with known contents at known places."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from catalog.format.blocks import PackKind, encode_frame
from catalog.format.keys import Keys, file_digest
from catalog.format.nodes import Node
from catalog.format.packs import PACK_TARGET, Extent, PackBuilder
from catalog.format.values import Hole, NodeKind, Owner, Paged, Piece, Subtree
from catalog.format.vaultfile import VaultFile
from catalog.format.writing import TREE_BLOCK_RAW, PieceWriter, write_folder
from catalog.store.base import Store
from catalog.vault import Vault

OWNER = Owner(1000, 1000, "someone", "people")
MACHINE = bytes(range(16))  # the id of the machine that makes these vaults
SMALL_BLOCK = 1 << 20  # raw bytes of a block of small files
SCATTER = 6  # packs; a tree of small files in more of them is written again


def open_empty(store: Store, seed: int = 1) -> Vault:
    """A vault with keys that depend on `seed` alone; there is no vault.json in the store."""
    rng = random.Random(seed)
    keys = Keys(rng.randbytes(32), rng.randbytes(16))
    return Vault(store, keys, VaultFile(keys.vault_id, 1, "2026-01-01T00:00:00+00:00", ()))


class Packer:
    """Writes blocks of one kind into packs, one pack at a time."""

    def __init__(
        self, vault: Vault, kind: PackKind, target: int = PACK_TARGET, *, machine: bytes = MACHINE
    ) -> None:
        self.vault = vault
        self.machine = machine
        self.kind = kind
        self.target = target
        self.names: list[str] = []
        self.stored = 0  # bytes of finished packs
        self._pack: PackBuilder | None = None

    def block(self, chunks: Sequence[bytes]) -> list[Extent]:
        """Seal chunks into one block. Returns their extents."""
        if self._pack is None:
            self._pack = PackBuilder(self.vault.keys, self.kind, self.machine)
        ids = b"".join(self.vault.keys.chunk_id(c) for c in chunks)
        row = self._pack.add(encode_frame(b"".join(chunks), 1), [len(c) for c in chunks], ids)
        extents = list(row.extents(self._pack.id))
        if self._pack.size >= self.target:
            self.finish()
        return extents

    def blocks(self, chunks: Iterable[bytes], raw: int) -> list[Extent]:
        """Seal chunks into blocks of about `raw` bytes. Returns their extents."""
        extents: list[Extent] = []
        pending: list[bytes] = []
        size = 0
        for chunk in chunks:
            pending.append(chunk)
            size += len(chunk)
            if size >= raw:
                extents += self.block(pending)
                pending, size = [], 0
        if pending:
            extents += self.block(pending)
        return extents

    def finish(self) -> None:
        """Store the open pack, if there is one."""
        if self._pack is not None:
            parts = self._pack.finish()
            self.vault.store.create(self._pack.name, parts)
            self.names.append(self._pack.name)
            self.stored += sum(len(p) for p in parts)
            self._pack = None


class Trees:
    """Writes tree pages. Equal pages of all points are stored once."""

    def __init__(self, vault: Vault, *, machine: bytes = MACHINE) -> None:
        self.machine = machine
        self.stored = 0  # bytes of finished packs
        self.packs_used: set[bytes] = set()  # packs of the pages written or found since it was last emptied
        self._vault = vault
        self._places: dict[bytes, Extent] = {}
        self._sealed: dict[tuple[bytes, int], int] = {}
        self._pack: PackBuilder | None = None
        self._pending: list[bytes] = []

    def write(self, page: bytes) -> Extent:
        """Put a page, or a value stored out of line, into the open block."""
        place = self._places.get(page)
        if place is not None:
            self.packs_used.add(place.pack)
            return place
        if self._pack is None:
            self._pack = PackBuilder(self._vault.keys, PackKind.TREE, self.machine)
        inner = sum(map(len, self._pending))
        place = Extent(self._pack.id, self._pack.size, 0, inner, len(page), self._vault.keys.chunk_id(page))
        self._places[page] = place
        self.packs_used.add(place.pack)
        self._pending.append(page)
        # Only now, since a page that refers to its own block must be in it.
        if inner + len(page) >= TREE_BLOCK_RAW:
            self._seal()
        return place

    def resolve(self, at: Extent) -> Extent:
        """The extent, with its stored length if its block is sealed."""
        return at._replace(stored=self._sealed.get((at.pack, at.offset), 0))

    def folder(self, nodes: Iterable[Node]) -> Subtree | None:
        return write_folder(nodes, self.write, self.resolve)

    def pieces(self, pieces: Sequence[Piece]) -> list[Piece] | Paged:
        """The content of the entry of a file with these pieces."""
        digest = file_digest([(p.length, p.id if isinstance(p, Extent) else None) for p in pieces])
        writer = PieceWriter(self.write, self.resolve)
        for piece in pieces:
            writer.add(piece)
        return writer.finish(digest, sum(p.length for p in pieces if isinstance(p, Extent)))

    def root(self, top: Subtree | None) -> Subtree:
        """End the pack. Returns the subtree with its stored length filled in."""
        self.finish()
        assert top is not None
        return top._replace(at=self.resolve(top.at))

    def forget(self) -> None:
        """Write every page again from now on."""
        self._places.clear()

    def finish(self) -> None:
        """Store the open pack, if there is one."""
        if self._pack is not None:
            self._seal()
            parts = self._pack.finish()
            self._vault.store.create(self._pack.name, parts)
            self.stored += sum(len(p) for p in parts)
            self._pack = None

    def _seal(self) -> None:
        if self._pack is not None and self._pending:
            ids = b"".join(self._vault.keys.chunk_id(p) for p in self._pending)
            row = self._pack.add(encode_frame(b"".join(self._pending)), [len(p) for p in self._pending], ids)
            self._sealed[self._pack.id, row.offset] = row.stored
            self._pending = []


def file_node(name: bytes, content: list[Piece] | Paged, size: int, rng: random.Random) -> Node:
    """The entry of a regular file, with times and inode from `rng`."""
    time = 1_700_000_000_000_000_000 + rng.randrange(10**16)
    return Node(name, NodeKind.FILE, 0o644, OWNER, size, time, time + rng.randrange(10**9), rng.randrange(10**7),
                content=content)  # fmt: skip


def folder_node(name: bytes, subtree: Subtree | None, rng: random.Random) -> Node:
    time = 1_700_000_000_000_000_000 + rng.randrange(10**16)
    return Node(name, NodeKind.FOLDER, 0o755, OWNER, 0, time, time, rng.randrange(10**7), content=subtree)


class SmallFiles:
    """Folders of small files, backed up once, then edited and backed up again and again."""

    def __init__(self, vault: Vault, folders: int = 200, each: int = 100, largest: int = 16 << 10) -> None:
        self.vault = vault
        self.rng = random.Random(folders * each)
        self.data = Packer(vault, PackKind.DATA)
        self.trees = Trees(vault)
        rng = self.rng
        self.contents = {
            (f"folder-{n:03d}".encode(), f"file-{m:03d}.txt".encode()): rng.randbytes(rng.randint(1 << 10, largest))
            for n in range(folders)
            for m in range(each)
        }
        self._nodes: dict[bytes, dict[bytes, Node]] = {}
        self._subtrees: dict[bytes, Subtree | None] = {}
        self._packs: dict[bytes, set[bytes]] = {}  # packs that hold the pages of each folder
        self._store(list(self.contents))
        self.root = self._commit()

    def edit(self, count: int) -> None:
        """Another point with `count` files edited at random."""
        keys = sorted(self.rng.sample(list(self.contents), count))
        for key in keys:
            self.contents[key] = self.rng.randbytes(len(self.contents[key]))
        self._store(keys)
        self.root = self._commit()
        if len(set().union(*self._packs.values())) > SCATTER:
            self._rewrite_tree()

    def _rewrite_tree(self) -> None:
        self.trees.forget()
        self._subtrees.clear()
        self.root = self._commit()

    def _store(self, keys: list[tuple[bytes, bytes]]) -> None:
        extents = self.data.blocks((self.contents[k] for k in keys), SMALL_BLOCK)
        self.data.finish()
        for (folder, name), at in zip(keys, extents, strict=True):
            self._nodes.setdefault(folder, {})[name] = file_node(name, [at], at.length, self.rng)
            self._subtrees.pop(folder, None)

    def _commit(self) -> Subtree:
        rng = random.Random(0)
        rows = []
        for name, nodes in sorted(self._nodes.items()):
            if name not in self._subtrees:
                self.trees.packs_used = set()
                self._subtrees[name] = self.trees.folder(nodes.values())
                self._packs[name] = self.trees.packs_used
            rows.append(folder_node(name, self._subtrees[name], rng))
        return self.trees.root(self.trees.folder(rows))


def big_file(vault: Vault, size: int, seed: int = 3) -> tuple[list[Extent], int]:
    """The pieces of a file of about `size` random bytes, in blocks of 256 KiB to 4 MiB, and its exact size.

    Chunk n holds `big_chunk(seed, n, length)`.
    """
    rng = random.Random(seed)
    data = Packer(vault, PackKind.DATA)
    extents: list[Extent] = []
    total = 0
    while total < size:
        length = min(4 << 20, (256 << 10) + int(rng.expovariate(1 / (768 << 10))))
        extents += data.block([big_chunk(seed, len(extents), length)])
        total += length
    data.finish()
    return extents, total


def big_chunk(seed: int, n: int, length: int) -> bytes:
    return random.Random(seed * 1_000_003 + n).randbytes(length)


__all__ = [
    "Hole",
    "Packer",
    "SmallFiles",
    "Trees",
    "big_chunk",
    "big_file",
    "file_node",
    "folder_node",
    "open_empty",
]
