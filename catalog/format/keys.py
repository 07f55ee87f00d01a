"""The keys of a vault, derived from its master key. docs/format.md, "Keys".

HKDF is RFC 5869 with SHA-256. Keys are 32 bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from blake3 import blake3
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

VERSION = 1  # of every format in docs/format.md
GENERATION = 0  # of the master key; packs and sealed objects say theirs, and others are newer
ID_BYTES = 16  # of a chunk id, as stored in extents and index


def expand(key: bytes, info: bytes, length: int = 32) -> bytes:
    """HKDF-Expand of a key that is uniformly random already."""
    return HKDFExpand(SHA256(), length, info).derive(key)


def derive(key: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF (extract and expand) to 32 bytes."""
    return HKDF(SHA256(), 32, salt, info).derive(key)


class Keys:
    """All keys of one vault, from its master key (32 bytes) and its id (16 bytes)."""

    def __init__(self, master: bytes, vault_id: bytes) -> None:
        self.master, self.vault_id = master, vault_id

    def _purpose(self, name: str) -> bytes:
        return derive(self.master, self.vault_id, b"rpdrive/1 " + name.encode())

    @cached_property
    def chunk_ids(self) -> bytes:
        return self._purpose("chunk ids")

    @cached_property
    def data_packs(self) -> bytes:
        return self._purpose("data packs")

    @cached_property
    def tree_packs(self) -> bytes:
        return self._purpose("tree packs")

    @cached_property
    def records(self) -> bytes:
        return self._purpose("records")

    @cached_property
    def index(self) -> bytes:
        return self._purpose("index")

    @cached_property
    def vault_file(self) -> bytes:
        return self._purpose("vault file")

    @cached_property
    def admin_keys(self) -> bytes:
        return self._purpose("admin keys")

    @cached_property
    def cutter_seed(self) -> int:
        """63 bits (as many as the cutter takes) for the content-defined cutter."""
        return int.from_bytes(self._purpose("cutter seed")[:8], "big") >> 1

    def chunk_id(self, data: bytes | bytearray | memoryview) -> bytes:
        """The id of a chunk: the first 16 bytes of its keyed BLAKE3."""
        return blake3(data, key=self.chunk_ids).digest(length=ID_BYTES)


class FileDigest:
    """A file's digest: BLAKE3 over (length in 8 bytes, chunk id or 16 zeros for a hole) of each piece.

    Adjacent holes count as one, so that the digest does not depend on how a writer split them.
    """

    def __init__(self) -> None:
        self._hash = blake3()
        self._hole = 0  # bytes of the hole at the end of the pieces so far

    def add(self, length: int, chunk: bytes | None) -> None:
        """Add the next piece; a hole has None for `chunk`."""
        if chunk is None:
            self._hole += length
            return
        self._end_hole()
        self._hash.update(length.to_bytes(8, "big") + chunk)

    def digest(self) -> bytes:
        """The digest, 16 bytes. Nothing can be added afterwards."""
        self._end_hole()
        return self._hash.digest(length=ID_BYTES)

    def _end_hole(self) -> None:
        if self._hole:
            self._hash.update(self._hole.to_bytes(8, "big") + bytes(ID_BYTES))
        self._hole = 0


def file_digest(pieces: Iterable[tuple[int, bytes | None]]) -> bytes:
    """The digest (16 bytes) of pieces given as (length, chunk id or None)."""
    digest = FileDigest()
    for length, chunk in pieces:
        digest.add(length, chunk)
    return digest.digest()
