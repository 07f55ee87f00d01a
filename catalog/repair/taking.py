"""Takes from another place of the vault what a machine's packs have lost: whole packs, and blocks.

A pack that is missing is put back under its name, as objects never change: once all its blocks have been opened,
and the content of each chunk is that of its id. Blocks that are lost in a pack that is there, or that upkeep had
moved, go into new packs, where the repair then finds them as other copies. Nothing is replaced.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from catalog.errors import Damaged, NewerFormat, ObjectExists, ObjectNotFound, ShortRead
from catalog.format.blocks import PackKind, encode_frame
from catalog.format.packs import BlockRow, Extent, PackBuilder, decode_pack, pack_name
from catalog.format.records import IndexedPack, IndexObject, encode_record
from catalog.format.sealed import Kind, seal_object
from catalog.repair.contents import Object, read_contents
from catalog.repair.examine import Examination
from catalog.repair.verify import Block, Reading, blocks_of
from catalog.screen.phases import Follower, Phase
from catalog.vault import Vault

MOST_WHOLE = 96 << 20  # bytes of a pack that is taken whole, in memory; larger ones are taken block by block
NEW_PACK = 32 << 20  # bytes of a new pack, about
_PER_INDEX = 500  # new packs in one index object
_BAD = (Damaged, NewerFormat, ObjectNotFound, ShortRead)  # of one object: the next place may have it


class Copied(NamedTuple):
    """Another place of the vault, open."""

    url: str
    vault: Vault


class Taken(NamedTuple):
    """What was taken, or can be: whole packs, and blocks of others."""

    packs: int = 0
    blocks: int = 0

    def __bool__(self) -> bool:
        return bool(self.packs or self.blocks)


class Taking:
    """Looks for what an examination calls lost in other places, and takes it from there."""

    def __init__(self, vault: Vault, machine: bytes, places: Sequence[Copied], follow: Follower) -> None:
        self._vault, self._machine, self._places, self._follow = vault, machine, places, follow
        self._builders: dict[PackKind, PackBuilder] = {}
        self._indexed: list[IndexedPack] = []
        self._tables: dict[tuple[str, bytes], dict[int, BlockRow]] = {}  # of the pack that was looked at last

    def look(self, examination: Examination) -> Taken:
        """What other places have: a missing pack by its name and size; blocks are read. Raises StoreError."""
        packs = blocks = 0
        for kind, pack, chunks in examination.lost():
            if examination.is_missing(kind, pack) and any(self._size(place, kind, pack) for place in self._places):
                packs += 1
                continue
            left = list(blocks_of(kind, chunks))
            for place in self._places:
                bad = {lost.block.at.offset for lost in Reading(place.vault).run(left)}
                blocks += sum(1 for block in left if block.at.offset not in bad)
                left = [block for block in left if block.at.offset in bad]
        return Taken(packs, blocks)

    def take(self, examination: Examination) -> Taken:
        """Take it. Stopped anywhere, it can be run again. Raises StoreError."""
        packs = blocks = 0
        for n, (kind, pack, chunks) in enumerate(examination.lost()):
            self._follow.phase(Phase("taking what is lost from another place", n, unit="packs"))
            if examination.is_missing(kind, pack) and any(self._whole(p, kind, pack) for p in self._places):
                packs += 1
            else:
                blocks += sum(1 for block in blocks_of(kind, chunks) if self._block(block))
        for kind in list(self._builders):
            self._finish(kind)
        self._write_index()
        return Taken(packs, blocks)

    # --- whole packs --------------------------------------------------------------------------------------

    def _size(self, place: Copied, kind: PackKind, pack: bytes) -> int | None:
        """Bytes of the object of a pack; None if the place does not have it, or it is too large to be taken."""
        try:
            size = place.vault.object_size(kind, pack)
        except _BAD:
            return None
        return size if 0 < size <= MOST_WHOLE else None

    def _whole(self, place: Copied, kind: PackKind, pack: bytes) -> bool:
        """Put a missing pack back. Whether it is there now."""
        size = self._size(place, kind, pack)
        if size is None:
            return False
        try:
            data = place.vault.read_pack(kind, pack, 0, size)
            view = memoryview(data)
            for row in decode_pack(self._vault.keys, kind, pack, data):
                sealed = view[row.offset :][: row.stored]
                chunks = tuple(row.extents(pack))
                if chunks and self._opened(Block(kind, chunks), bytes(sealed)) is None:
                    return False
        except _BAD:
            return False
        try:
            self._vault.store.create(pack_name(kind, pack), [data])
        except ObjectExists:
            pass  # another repair has put it back
        return True

    # --- blocks -------------------------------------------------------------------------------------------

    def _block(self, block: Block) -> bool:
        """Store the lost chunks of a block anew. Whether a place has them."""
        for place in self._places:
            try:
                sealed = place.vault.fetch_block(block.kind, block.at)
                raw = self._opened(block, sealed)
                whole = self._all_of(place, block)
                if whole is not None and self._opened(whole, sealed) is None:
                    whole = None
            except _BAD:
                continue
            if raw is not None:
                self._add(whole or block, raw)
                return True
        return False

    def _all_of(self, place: Copied, block: Block) -> Block | None:
        """All chunks of a block of pages, by the table of contents of its pack there; None if that can't be had.

        Pages of folders lead to pages in the same block, which are known to be lost only once these can be read.
        """
        if block.kind is not PackKind.TREE:
            return None
        key = place.url, block.at.pack
        if key not in self._tables:
            self._tables = {key: self._table(place, block.kind, block.at.pack)}
        row = self._tables[key].get(block.at.offset)
        return None if row is None else Block(block.kind, tuple(row.extents(block.at.pack)))

    def _table(self, place: Copied, kind: PackKind, pack: bytes) -> dict[int, BlockRow]:
        size = self._size(place, kind, pack)
        if size is None:
            return {}
        try:
            contents = read_contents(place.vault, Object(kind, pack, size, 0))
        except _BAD:
            return {}
        return {row.offset: row for one in contents.packs if one.pack == pack for row in one.blocks}

    def _opened(self, block: Block, sealed: bytes) -> memoryview | None:
        """A block, open; None if any of the chunks is not what was written."""
        raw = memoryview(self._vault.open_block(block.kind, block.at, sealed))
        for at in block.chunks:
            piece = raw[at.inner : at.inner + at.length]
            if len(piece) != at.length or self._vault.keys.chunk_id(piece) != at.id:
                return None
        return raw

    def _add(self, block: Block, raw: memoryview) -> None:
        chunks = list(_once(block.chunks))
        content = b"".join(raw[at.inner : at.inner + at.length] for at in chunks)
        builder = self._builders.get(block.kind)
        if builder is None:
            builder = self._builders[block.kind] = PackBuilder(self._vault.keys, block.kind, self._machine)
        builder.add(encode_frame(content), [at.length for at in chunks], b"".join(at.id for at in chunks))
        if builder.size >= NEW_PACK:
            self._finish(block.kind)

    def _finish(self, kind: PackKind) -> None:
        builder = self._builders.pop(kind)
        self._vault.store.create(builder.name, builder.finish())
        if kind is PackKind.DATA:
            self._indexed.append(IndexedPack(builder.id, builder.rows))
            if len(self._indexed) >= _PER_INDEX:
                self._write_index()

    def _write_index(self) -> None:
        if self._indexed:
            name = f"index/{self._machine.hex()}/{os.urandom(16).hex()}"
            content = encode_record(IndexObject(packs=self._indexed))
            self._vault.store.create(name, [seal_object(self._vault.keys, Kind.INDEX, name, content)])
            self._indexed = []


def _once(chunks: Iterable[Extent]) -> Iterator[Extent]:
    """Chunks by their places in the block, each once."""
    for _inner, same in groupby(sorted(chunks, key=lambda at: at.inner), key=lambda at: at.inner):
        yield next(same)
