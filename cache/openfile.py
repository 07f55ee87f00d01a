"""One file, open for reading: offsets in the file to verified bytes."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from catalog.errors import Damaged
from catalog.format.blocks import Buffer, PackKind
from catalog.format.trees import Hole, Paged, Piece
from catalog.tree import Pieces

if TYPE_CHECKING:
    from cache.reader import Reader


class OpenFile:
    """Reads one file. Any number of threads may read at once; holds no memory of its own to speak of."""

    def __init__(self, reader: Reader, content: list[Piece] | Paged, size: int) -> None:
        self.size = size
        self._reader = reader
        self._pieces = Pieces(reader, content)
        self._run: tuple[list[int], list[Piece]] = ([], [])

    def read(self, offset: int, length: int) -> Buffer:
        """`length` bytes from `offset`; fewer only at the end of the file. Holes are zeros.

        Damaged, MissingData, StoreError: then nothing is returned, least of all zeros.
        """
        end = min(offset + length, self.size)
        if offset >= end:
            return b""
        parts: list[Buffer] = []
        position = offset
        while position < end:
            start, piece = self._piece_at(position)
            inner = position - start
            take = min(piece.length - inner, end - position)
            if isinstance(piece, Hole):
                parts.append(bytes(take))
            else:
                parts.append(self._reader.chunk(PackKind.DATA, piece)[inner : inner + take])
            position += take
        self._reader.served(end - offset)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _piece_at(self, position: int) -> tuple[int, Piece]:
        run = self._run  # taken once: another thread may put another run there
        for fresh in (False, True):
            if fresh:
                run = self._run = self._pieces.run(position)
            starts, pieces = run
            n = bisect_right(starts, position) - 1
            if n >= 0 and position < starts[n] + pieces[n].length:
                return starts[n], pieces[n]
        raise Damaged(f"a file of {self.size} bytes has no data from byte {position} on")

    def close(self) -> None:
        """Nothing more will be read here."""
