"""Packs: blocks end to end, then a sealed table of contents. docs/format.md, "Packs"."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from catalog.errors import Damaged, MissingData, NewerFormat, Unwritable
from catalog.format.blocks import FRAME, MAX_RAW, Buffer, PackKind, encode_frame, open_block, seal_block
from catalog.format.keys import GENERATION, ID_BYTES, VERSION, Keys
from catalog.format.message import MAX_OFFSET, Length, Offset, Stored, decode

HEADER = struct.Struct(">7sB")  # magic, version
MAGIC = b"RPDPACK"
TRAILER = struct.Struct(">QI4s")  # offset and stored length of the contents, magic
TRAILER_MAGIC = b"RPDT"
PACK_TARGET = 32 << 20  # bytes; the block that reaches it closes the pack
SERIES_BYTES = 4  # of a machine's id, with which the ids of its packs begin
_NAME = re.compile("(packs|meta)/([0-9a-f]{8})/([0-9a-f]{2})/([0-9a-f]{32})")


class Extent(NamedTuple):
    """The location of a chunk. Offsets and lengths in bytes; `id` and `pack` (ids) have 16 bytes."""

    pack: bytes
    offset: int  # of the block in the pack
    stored: int  # length of the sealed block
    inner: int  # of the chunk in the raw block
    length: int
    id: bytes


class BlockRow(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A block in a table of contents. Its chunks follow each other without gaps; `ids` has 16 bytes for each."""

    offset: Offset
    stored: Stored
    lengths: list[Length]
    ids: bytes

    def chunks(self) -> list[bytes]:
        """The ids of the chunks, in their order."""
        ids = self.ids
        return [ids[n : n + ID_BYTES] for n in range(0, len(self.lengths) * ID_BYTES, ID_BYTES)]

    def extents(self, pack: bytes) -> Iterator[Extent]:
        offset, stored, inner = self.offset, self.stored, 0
        for length, chunk in zip(self.lengths, self.chunks(), strict=True):
            yield Extent(pack, offset, stored, inner, length, chunk)
            inner += length


_rows_decoder = msgspec.msgpack.Decoder(list[BlockRow])
_encoder = msgspec.msgpack.Encoder()


def check_rows(rows: list[BlockRow], what: str) -> None:
    """Raise Damaged if a row does not have one id for each length."""
    if any(len(r.ids) != ID_BYTES * len(r.lengths) for r in rows):
        raise Damaged(f"{what} does not list one id for each chunk")


def new_pack_id(machine: bytes) -> bytes:
    """A new id for a pack of a machine: its series, the generation of the key, and 11 random bytes."""
    return machine[:SERIES_BYTES] + bytes([GENERATION]) + os.urandom(ID_BYTES - SERIES_BYTES - 1)


def pack_name(kind: PackKind, pack_id: bytes) -> str:
    """Full name of a pack in the store."""
    text = pack_id.hex()
    return f"{series_folder(kind, pack_id)}{text[10:12]}/{text}"


def missing_pack(kind: PackKind, pack_id: bytes) -> MissingData:
    """The error for a pack that the vault no longer has."""
    return MissingData(f"the pack {pack_name(kind, pack_id)} is missing from the vault")


def series_folder(kind: PackKind, one: bytes) -> str:
    """The folder of all packs in a series, with a slash. `one` is the id of the machine or of a pack."""
    return f"{kind.folder}/{one[:SERIES_BYTES].hex()}/"


def pack_named(name: str) -> bytes | None:
    """The id of the pack with this full name in the store; None if it is not the name of a pack."""
    m = _NAME.fullmatch(name)
    if m is None or m[4][:8] != m[2] or m[4][10:12] != m[3]:
        return None
    return bytes.fromhex(m[4])


class PackBuilder:
    """Seals frames into one new pack of a machine, in memory, in the order they are added. Not thread-safe.

    `parts` is the pack so far. Retries must send exactly these bytes: no other bytes may use this pack id.
    """

    def __init__(self, keys: Keys, kind: PackKind, machine: bytes, *, pack_id: bytes | None = None) -> None:
        self.kind = kind
        self.id = new_pack_id(machine) if pack_id is None else pack_id
        self.rows: list[BlockRow] = []
        self.size = HEADER.size
        self.parts: list[Buffer] = [HEADER.pack(MAGIC, VERSION)]
        self._keys = keys

    @property
    def name(self) -> str:
        return pack_name(self.kind, self.id)

    def add(self, frame: Buffer, lengths: list[int], ids: bytes) -> BlockRow:
        """Seal a frame of chunks at the end of the pack, and return its row in the table of contents.

        Raises Unwritable if no reader would accept the block.
        """
        _codec, raw = FRAME.unpack_from(frame)
        if not raw == sum(lengths) <= MAX_RAW[self.kind] or len(frame) > MAX_RAW[self.kind] + FRAME.size:
            raise Unwritable(f"a block of {raw} bytes in {self.name} could not be read again")
        sealed = seal_block(self._keys, self.kind, self.id, self.size, frame)
        row = BlockRow(self.size, len(sealed), lengths, ids)
        self.rows.append(row)
        self.parts.append(sealed)
        self.size += len(sealed)
        return row

    def finish(self) -> list[Buffer]:
        """All parts of the object, contents and trailer included. Raises Unwritable if it has too many chunks."""
        contents = _encoder.encode(self.rows)
        if len(contents) > MAX_RAW[self.kind.contents] or self.size > MAX_OFFSET:
            raise Unwritable(f"the contents of {self.name}, {len(contents)} bytes, could not be read again")
        frame = encode_frame(contents)
        sealed = seal_block(self._keys, self.kind.contents, self.id, self.size, frame)
        trailer = TRAILER.pack(self.size, len(sealed), TRAILER_MAGIC)
        return [*self.parts, sealed, trailer]


def decode_trailer(data: Buffer, size: int, what: str) -> tuple[int, int]:
    """Offset and stored length of the contents, from the last bytes of a pack and its size. Raises Damaged."""
    if len(data) < TRAILER.size:
        raise Damaged(f"{what} is truncated")
    offset, stored, magic = TRAILER.unpack(bytes(data[-TRAILER.size :]))
    if magic != TRAILER_MAGIC or offset + stored + TRAILER.size != size:
        raise Damaged(f"{what} is truncated, or is not a pack")
    return offset, stored


def decode_contents(keys: Keys, kind: PackKind, pack_id: bytes, offset: int, sealed: Buffer) -> list[BlockRow]:
    """The table of contents from its sealed bytes. Raises Damaged, also if blocks have gaps or overlap."""
    what = f"the contents of pack {pack_id.hex()}"
    raw = open_block(keys, kind.contents, pack_id, offset, sealed)
    rows = decode(_rows_decoder, raw, what)
    check_rows(rows, what)
    end = HEADER.size
    for row in rows:
        if row.offset != end:
            raise Damaged(f"{what} leaves a gap before {row.offset}")
        end += row.stored
    if end != offset:
        raise Damaged(f"{what} leaves a gap before {offset}")
    return rows


def decode_pack(keys: Keys, kind: PackKind, pack_id: bytes, data: Buffer) -> list[BlockRow]:
    """The table of contents of a whole pack in memory. Raises Damaged or NewerFormat."""
    what = f"pack {pack_id.hex()}"
    if len(data) < HEADER.size + TRAILER.size:
        raise Damaged(f"{what} is truncated")
    check_header(data, pack_id)
    offset, stored = decode_trailer(data, len(data), what)
    return decode_contents(keys, kind, pack_id, offset, memoryview(data)[offset : offset + stored])


def check_header(data: Buffer, pack_id: bytes) -> None:
    """Raise Damaged or NewerFormat unless a pack begins with these bytes."""
    what = f"pack {pack_id.hex()}"
    if len(data) < HEADER.size:
        raise Damaged(f"{what} is truncated")
    magic, version = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise Damaged(f"{what} is not a pack")
    if version != VERSION:
        raise NewerFormat(f"{what} has format version {version}; this rpdrive reads version {VERSION}")
