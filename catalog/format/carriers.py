"""Carriers: objects that hold blocks of packs, copied verbatim. docs/format.md, "Carriers".

A block is sealed for its pack and its offset there, so its sealed bytes can lie anywhere, and move without a key.
A carrier's table of contents says whose blocks it holds; records of places say the same to readers.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from catalog.errors import Damaged, NewerFormat, Unwritable
from catalog.format.blocks import MAX_RAW, Buffer, PackKind, encode_frame, open_block, seal_block
from catalog.format.keys import VERSION, Keys
from catalog.format.message import MAX_OFFSET, decode
from catalog.format.packs import (
    HEADER,
    TRAILER,
    TRAILER_MAGIC,
    BlockRow,
    check_rows,
    decode_trailer,
    new_pack_id,
    pack_name,
)
from catalog.format.records import IndexedPack

MAGIC = b"RPDCARR"
HEAD = HEADER.pack(MAGIC, VERSION)
_decoder = msgspec.msgpack.Decoder(list[IndexedPack])
_encoder = msgspec.msgpack.Encoder()


class CarrierBuilder:
    """Puts sealed blocks of packs into one new carrier of a machine's series, in memory. Not thread-safe."""

    def __init__(self, keys: Keys, kind: PackKind, machine: bytes, *, carrier_id: bytes | None = None) -> None:
        self.kind = kind
        self.id = new_pack_id(machine) if carrier_id is None else carrier_id
        self.packs: list[IndexedPack] = []
        self.size = HEADER.size
        self._parts: list[Buffer] = [HEAD]
        self._keys = keys

    @property
    def name(self) -> str:
        return pack_name(self.kind, self.id)

    def add(self, pack: bytes, rows: Sequence[BlockRow], blocks: Sequence[Buffer]) -> int:
        """Add blocks of a pack, with their rows in its table of contents. Returns the offset of the first one."""
        assert all(len(b) == r.stored for r, b in zip(rows, blocks, strict=True))
        self._parts.extend(blocks)
        return self.refer(pack, rows)

    def refer(self, pack: bytes, rows: Sequence[BlockRow]) -> int:
        """The same, for blocks whose bytes somebody else puts into the object: the store, between head and tail."""
        at = self.size
        self.packs.append(IndexedPack(pack, list(rows)))
        self.size += sum(row.stored for row in rows)
        return at

    def finish(self) -> list[Buffer]:
        """All parts of the object, contents and trailer included. Raises Unwritable if it has too many chunks."""
        return [*self._parts, *self.tail()]

    def tail(self) -> list[Buffer]:
        """What follows the blocks: contents and trailer. Raises as `finish`."""
        contents, kind = _encoder.encode(self.packs), self.kind.carried
        if len(contents) > MAX_RAW[kind] or self.size > MAX_OFFSET:
            raise Unwritable(f"the contents of {self.name}, {len(contents)} bytes, could not be read again")
        sealed = seal_block(self._keys, kind, self.id, self.size, encode_frame(contents))
        return [sealed, TRAILER.pack(self.size, len(sealed), TRAILER_MAGIC)]


def decode_carrier(keys: Keys, kind: PackKind, carrier_id: bytes, data: Buffer) -> list[IndexedPack]:
    """The packs whose blocks a whole carrier in memory holds, with the rows of these blocks, in their order in it.

    Raises Damaged or NewerFormat.
    """
    what = f"carrier {carrier_id.hex()}"
    if len(data) < HEADER.size + TRAILER.size:
        raise Damaged(f"{what} is truncated")
    magic, version = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise Damaged(f"{what} is not a carrier")
    if version != VERSION:
        raise NewerFormat(f"{what} has format version {version}; this rpdrive reads version {VERSION}")
    offset, stored = decode_trailer(data, len(data), what)
    return decode_carried(keys, kind, carrier_id, offset, memoryview(data)[offset : offset + stored])


def decode_carried(keys: Keys, kind: PackKind, carrier_id: bytes, offset: int, sealed: Buffer) -> list[IndexedPack]:
    """The same, from the sealed bytes of the carrier's table of contents and their offset. Raises Damaged."""
    what = f"carrier {carrier_id.hex()}"
    packs = decode(_decoder, open_block(keys, kind.carried, carrier_id, offset, sealed), what)
    for pack in packs:
        check_rows(pack.blocks, what)
    if HEADER.size + sum(row.stored for pack in packs for row in pack.blocks) != offset:
        raise Damaged(f"{what} does not list all of its blocks")
    return packs
