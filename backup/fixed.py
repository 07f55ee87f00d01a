"""Stores a disk image: pieces of one size at fixed offsets, so that a change costs only the pieces that it is in.

A piece of zeros is a hole. Of an image whose changes since the earlier point are known, unchanged pieces are those
of the earlier point, and are not read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple

from backup.pieces import PendingPieces
from backup.pipeline import Pipeline
from backup.systems.base import File, ImageReader
from catalog.errors import Damaged, DeviceUnreadable, ObjectNotFound
from catalog.format.keys import Keys
from catalog.format.packs import Extent
from catalog.format.values import Hole, Paged, Piece
from catalog.format.writing import WritePage
from catalog.tree import PageSource, Pieces

_SHARED = 64 << 10  # bytes; a shorter piece, at the end of an image, goes into a shared block


class Earlier:
    """The pieces of an image in the earlier point, of the `time` (ns) in its entry.

    `lacks` says which blocks may not be kept.
    """

    def __init__(
        self, pages: PageSource, content: list[Piece] | Paged, lacks: Callable[[Extent], bool], time: int
    ) -> None:
        self.time = time
        self._pieces, self._lacks = Pieces(pages, content), lacks
        self._run: tuple[list[int], list[Piece]] = ([], [])

    def at(self, start: int, length: int) -> Piece | None:
        """The piece of exactly this range; None if there is none that may be kept."""
        try:
            found = self._at(start)
        except (Damaged, ObjectNotFound):
            return None
        if found is None:
            return None
        begin, piece = found
        if isinstance(piece, Hole):
            return Hole(length) if start + length <= begin + piece.length else None
        return piece if (begin, piece.length) == (start, length) and not self._lacks(piece) else None

    def _at(self, position: int) -> tuple[int, Piece] | None:
        for again in (False, True):
            starts, pieces = self._run
            if starts and starts[0] <= position < starts[-1] + pieces[-1].length:
                n = bisect_right(starts, position) - 1
                return starts[n], pieces[n]
            if not again:
                self._run = self._pieces.run(position)
        return None


class Ranges:
    """Ascending ranges (start, end), asked in ascending order. None: everything."""

    def __init__(self, ranges: Iterator[tuple[int, int]] | None) -> None:
        self._ranges = ranges
        self._now: tuple[int, int] | None = next(ranges, None) if ranges is not None else None

    def touches(self, start: int, end: int) -> bool:
        """Whether one of the ranges has a byte of this one."""
        if self._ranges is None:
            return True
        while self._now is not None and self._now[1] <= start:
            self._now = next(self._ranges, None)
        return self._now is not None and self._now[0] < end


class Into(NamedTuple):
    """Where pieces go. `passed` is called with each position reached, and the bytes that were read for it."""

    pipeline: Pipeline
    keys: Keys
    write_page: WritePage
    passed: Callable[[int, int], None]


class FixedPieces(Generic[File]):
    """Stores one image. An image is whole, or there is no recovery point: no fault of it costs only the file."""

    def __init__(self, image: ImageReader[File], into: Into) -> None:
        self._image, self._into = image, into
        self._zeros = bytes(image.piece)
        self._hole = 0  # bytes of the hole before the current position

    def store(self, file: File, size: int, earlier: Earlier | None) -> PendingPieces:
        """Store an open image of `size` bytes. Raises DeviceUnreadable if it can't be read, or ends before."""
        pending = PendingPieces(self._into.pipeline, self._into.write_page)
        data = Ranges(self._image.data(file, size))
        changed = Ranges(self._image.changed(file, earlier.time) if earlier is not None else None)
        position = 0
        while position < size:
            length = min(self._image.piece, size - position)
            end, read = position + length, 0
            if not data.touches(position, end):
                self._hole += length
            else:
                kept = None
                if earlier is not None and not changed.touches(position, end):
                    kept = earlier.at(position, length)
                if kept is not None:
                    self._keep(pending, kept)
                else:
                    self._read(pending, file, position, length)
                    read = length
            position = end
            self._into.passed(position, read)
        self._end_hole(pending)
        return pending

    def _keep(self, pending: PendingPieces, piece: Piece) -> None:
        if isinstance(piece, Hole):
            self._hole += piece.length
            return
        self._end_hole(pending)
        pending.add(piece, piece.length, piece.id)

    def _read(self, pending: PendingPieces, file: File, position: int, length: int) -> None:
        data = self._image.part(file, position, length)
        if len(data) != length:
            what = f"the image ends at byte {position + len(data)}, before its size: it was made smaller"
            raise DeviceUnreadable(what, "run the backup again")
        if data == (self._zeros if length == len(self._zeros) else bytes(length)):
            self._hole += length
            return
        self._end_hole(pending)
        chunk = self._into.keys.chunk_id(data)
        pending.add(self._into.pipeline.chunk(data, chunk, alone=length >= _SHARED), length, chunk)

    def _end_hole(self, pending: PendingPieces) -> None:
        if self._hole:
            pending.add(Hole(self._hole), self._hole, None)
        self._hole = 0
