"""Frames and blocks: the unit of compression, encryption, fetching and caching. docs/format.md, "Blocks".

A frame is codec (1 byte), raw length (4 bytes, big endian), payload. A block is a frame sealed with
AES-256-GCM under its pack's key, with its offset in the pack as the nonce. No key is used twice with one nonce,
because each attempt at a pack draws a new pack id.
"""

from __future__ import annotations

import struct
import threading
from enum import IntEnum
from functools import lru_cache
from typing import TypeAlias

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from catalog.errors import Damaged, NewerFormat
from catalog.format.keys import GENERATION, VERSION, Keys, expand

Buffer: TypeAlias = bytes | bytearray | memoryview

FRAME = struct.Struct(">BI")
BLOCK_AD = struct.Struct(">4sBB16s16sQ")
TAG_BYTES = 16
OVERHEAD = FRAME.size + TAG_BYTES
RAW, ZSTD = 0, 1
MAX_DATA_RAW = 8 << 20  # bytes a data block may decode to
MAX_TREE_RAW = 1 << 20  # bytes a tree block may decode to
_GENERATION_AT = 4  # byte of a pack id


class PackKind(IntEnum):
    """The kind of a sealed block; part of its associated data."""

    DATA = 1
    TREE = 2
    DATA_CONTENTS = 3
    TREE_CONTENTS = 4
    DATA_CARRIED = 5
    TREE_CARRIED = 6

    @property
    def folder(self) -> str:
        return "packs" if self % 2 else "meta"

    @property
    def contents(self) -> PackKind:
        """The kind of the table of contents of a pack of this kind."""
        return PackKind.DATA_CONTENTS if self is PackKind.DATA else PackKind.TREE_CONTENTS

    @property
    def carried(self) -> PackKind:
        """The kind of the table of contents of a carrier of such packs."""
        return PackKind.DATA_CARRIED if self is PackKind.DATA else PackKind.TREE_CARRIED


MAX_RAW = {
    PackKind.DATA: MAX_DATA_RAW,
    PackKind.TREE: MAX_TREE_RAW,
    PackKind.DATA_CONTENTS: 64 << 20,
    PackKind.TREE_CONTENTS: 64 << 20,
    PackKind.DATA_CARRIED: 64 << 20,
    PackKind.TREE_CARRIED: 64 << 20,
}

_threads = threading.local()


def _compressor(level: int) -> zstandard.ZstdCompressor:
    # Two threads must not use one compressor at once, and making one for each block costs too much.
    cache: dict[int, zstandard.ZstdCompressor] | None = getattr(_threads, "compressors", None)
    if cache is None:
        cache = _threads.compressors = {}
    if level not in cache:
        cache[level] = zstandard.ZstdCompressor(level=level, write_checksum=False)
    return cache[level]


def _decompressor() -> zstandard.ZstdDecompressor:
    found: zstandard.ZstdDecompressor | None = getattr(_threads, "decompressor", None)
    if found is None:
        found = _threads.decompressor = zstandard.ZstdDecompressor()
    return found


def encode_frame(raw: Buffer, level: int = 3) -> bytes:
    """Compress at a zstd level. Stores the bytes raw (codec 0) if that saves less than 1/64 of them."""
    size = len(raw)
    packed = _compressor(level).compress(raw)
    if len(packed) >= size - size // 64:
        return b"".join((FRAME.pack(RAW, size), raw))
    return b"".join((FRAME.pack(ZSTD, size), packed))


def decode_frame(frame: Buffer, most: int, what: str) -> Buffer:
    """The raw bytes.

    Raises Damaged if they exceed `most` or differ from the length in the frame, NewerFormat for an unknown codec.
    """
    if len(frame) < FRAME.size:
        raise Damaged(f"{what} is truncated")
    codec, size = FRAME.unpack_from(frame)
    payload = memoryview(frame)[FRAME.size :]
    if size > most:
        raise Damaged(f"{what} claims to hold {size} bytes, more than the limit of {most}")
    if codec == RAW:
        if len(payload) != size:
            raise Damaged(f"{what} holds {len(payload)} bytes, not the {size} it claims")
        return payload
    if codec != ZSTD:
        raise NewerFormat(f"{what} is compressed with codec {codec}, which this rpdrive doesn't know")
    try:
        if zstandard.frame_content_size(payload) != size:
            raise Damaged(f"{what} does not decode to the {size} bytes it claims")
        raw = _decompressor().decompress(payload, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as e:
        raise Damaged(f"{what} can't be decompressed") from e
    if len(raw) != size:
        raise Damaged(f"{what} decodes to {len(raw)} bytes, not the {size} it claims")
    return raw


def _nonce(offset: int) -> bytes:
    return offset.to_bytes(12, "big")


def _ad(kind: PackKind, vault_id: bytes, pack_id: bytes, offset: int) -> bytes:
    return BLOCK_AD.pack(b"RPDB", VERSION, kind, vault_id, pack_id, offset)


@lru_cache(maxsize=4096)
def _cipher(purpose_key: bytes, pack_id: bytes) -> AESGCM:
    return AESGCM(expand(purpose_key, b"rpdrive/1 pack" + pack_id))


def pack_cipher(keys: Keys, kind: PackKind, pack_id: bytes) -> AESGCM:
    """The cipher of one pack. Its key comes from the purpose key of its kind and from its id."""
    return _cipher(keys.data_packs if kind.folder == "packs" else keys.tree_packs, pack_id)


def seal_block(keys: Keys, kind: PackKind, pack_id: bytes, offset: int, frame: Buffer) -> bytes:
    """The frame, sealed for one offset in one pack: 16 bytes longer than the frame."""
    ad = _ad(kind, keys.vault_id, pack_id, offset)
    return pack_cipher(keys, kind, pack_id).encrypt(_nonce(offset), frame, ad)


def open_block(keys: Keys, kind: PackKind, pack_id: bytes, offset: int, sealed: Buffer) -> Buffer:
    """The raw bytes of a sealed block.

    Raises Damaged if another block was written at this offset of the pack, NewerFormat if it has another key.
    """
    what = f"block {pack_id.hex()}+{offset}"
    if pack_id[_GENERATION_AT] != GENERATION:
        raise NewerFormat(f"{what} is sealed with key {pack_id[_GENERATION_AT]}, which this rpdrive doesn't know")
    try:
        ad = _ad(kind, keys.vault_id, pack_id, offset)
        frame = pack_cipher(keys, kind, pack_id).decrypt(_nonce(offset), sealed, ad)
    except (InvalidTag, ValueError, OverflowError, struct.error) as e:
        raise Damaged(f"{what} differs from what was written there") from e
    return decode_frame(frame, MAX_RAW[kind], what)
