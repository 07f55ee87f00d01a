"""Compares the bytes of a file, from wherever they are read, with what the tree of a recovery point says."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from catalog.errors import Damaged
from catalog.format.blocks import Buffer
from catalog.format.keys import FileDigest, Keys, file_digest
from catalog.format.values import Hole, Paged, Piece
from catalog.tree import PageSource, Pieces

_READ = 4 << 20  # bytes at a time; no piece with data is longer than a block
_ZEROS = bytes(_READ)

Read = Callable[[int, int], Buffer]
"""`length` bytes from an offset of the file; fewer only at its end."""


class Compared(NamedTuple):
    """A file that is what the tree says. `digest` is that of its bytes as they were read."""

    size: int
    digest: bytes


def compare(
    keys: Keys,
    pages: PageSource,
    content: list[Piece] | Paged,
    size: int,
    read: Read,
    progress: Callable[[int], None] = lambda done: None,
) -> Compared:
    """Read a whole file, and compare every piece and the digest. Raises Damaged at the first difference.

    Raises also what `read` and reading the pages of a long file do. `progress` gets the bytes of each read.
    """
    digest, at = FileDigest(), 0
    for piece in Pieces(pages, content).all():
        if isinstance(piece, Hole):
            _check_hole(read, at, min(piece.length, size - at), progress)
            digest.add(piece.length, None)
        else:
            data = read(at, piece.length)
            progress(len(data))
            one = keys.chunk_id(data)
            if len(data) != piece.length or one != piece.id:
                raise _differs(at, piece.length)
            digest.add(piece.length, one)
        at += piece.length
    if at != size or len(read(size, 1)):
        raise Damaged(f"it does not have the {size:,} bytes that the recovery point says")
    found = digest.digest()
    if found != digest_of(pages, content):
        raise Damaged("its digest differs from that in the recovery point")
    return Compared(size, found)


def _check_hole(read: Read, at: int, length: int, progress: Callable[[int], None]) -> None:
    """Raise Damaged unless these bytes are zeros."""
    end = at + length
    while at < end:
        data = bytes(read(at, min(_READ, end - at)))
        progress(len(data))
        if not data or data != _ZEROS[: len(data)]:
            raise _differs(at, len(data))
        at += len(data)


def digest_of(pages: PageSource, content: list[Piece] | Paged) -> bytes:
    """The digest of a file as the tree has it."""
    if isinstance(content, Paged):
        return content.digest
    return file_digest([(p.length, None if isinstance(p, Hole) else p.id) for p in content])


def _differs(at: int, length: int) -> Damaged:
    return Damaged(f"bytes {at:,} to {at + length:,} differ from those that were saved")
