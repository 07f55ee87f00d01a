"""Compares files on the disk with the contents of entries."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from catalog.errors import Damaged
from catalog.format.keys import FileDigest
from catalog.format.packs import Extent
from catalog.format.values import Hole, Paged, Piece
from catalog.tree import PageSource, Pieces
from mount.restore.disk.base import Disk

_KEPT = 20_000  # pieces kept in memory: 5 MB; the pages of a longer list are read again
_PART = 1 << 20  # bytes read at once to look for zeros


def positions(pages: PageSource, content: list[Piece] | Paged) -> Iterator[tuple[int, Piece]]:
    """The pieces of a file, each with its position in the file (bytes)."""
    position = 0
    for piece in content if isinstance(content, list) else Pieces(pages, content).all():
        yield position, piece
        position += piece.length


def checked(pages: PageSource, content: Paged) -> Callable[[], Iterator[tuple[int, Piece]]]:
    """A function that returns all pieces, again at each call. Raises Damaged if they do not match the digest."""
    digest, kept, count = FileDigest(), list[tuple[int, Piece]](), 0
    for at, piece in positions(pages, content):
        digest.add(piece.length, None if isinstance(piece, Hole) else piece.id)
        count += 1
        if count <= _KEPT:
            kept.append((at, piece))
    if digest.digest() != content.digest:
        raise Damaged("its list of pieces does not match its digest")
    if count > _KEPT:
        kept.clear()
        return lambda: positions(pages, content)
    return lambda: iter(kept)


def holds(
    disk: Disk, fd: int, pieces: Iterator[tuple[int, Piece]], size: int, chunk_id: Callable[[bytes], bytes]
) -> bool:
    """Whether a file has these contents. Holes count as zeros."""
    if disk.fstat(fd).st_size != size:
        return False
    for at, piece in pieces:
        if isinstance(piece, Extent):
            if not has_piece(disk, fd, at, piece, chunk_id):
                return False
        elif not _is_zero(disk, fd, at, piece.length):
            return False
    return True


def has_piece(disk: Disk, fd: int, at: int, piece: Extent, chunk_id: Callable[[bytes], bytes]) -> bool:
    """Whether a file has this piece at a position (bytes)."""
    data = disk.pread(fd, piece.length, at)
    return len(data) == piece.length and chunk_id(data) == piece.id


def _is_zero(disk: Disk, fd: int, start: int, length: int) -> bool:
    end = start + length
    while start < end:
        try:
            start = disk.next_data(fd, start)
        except OSError as e:
            return e.errno == errno.ENXIO
        if start >= end:
            return True
        data = disk.pread(fd, min(end - start, _PART), start)
        if not data or data.count(0) != len(data):
            return False
        start += len(data)
    return True
