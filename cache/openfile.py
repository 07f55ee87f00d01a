"""A file open for reading: maps offsets in the file to verified bytes, and reads ahead."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol, TypeAlias

from cache.counters import Counters
from catalog.errors import Damaged, RpdriveError
from catalog.format.blocks import Buffer, PackKind
from catalog.format.packs import Extent
from catalog.format.values import Hole, Paged, Piece
from catalog.tree import PageSource, Pieces

MIB = 1 << 20
SURE = 256 << 10  # bytes read in sequence before reading ahead begins
SLACK = MIB  # bytes by which reads may be out of order, as those of several kernel threads are
FIRST_WINDOW = 2 * MIB
LEAST = MIB  # a smaller window, which many readers leave to each, would hold no block
WINDOW = 16 * MIB  # stored bytes of one range read
STRETCH = 20 * MIB  # the same, if that saves a read for the rest of a pack
DECODE_AHEAD = 2 * MIB
Run: TypeAlias = tuple[list[int], list[Piece]]  # starts in the file, and pieces


class BlockSource(PageSource, Protocol):
    """The source of a file's bytes: verified chunks, and blocks fetched and decoded before they are needed."""

    @property
    def counters(self) -> Counters: ...

    def chunk(self, kind: PackKind, at: Extent, *, alone: bool = False) -> memoryview:
        """The verified bytes of a chunk. Raises Damaged, MissingData or StoreError.

        `alone`: its neighbours are not expected to be read.
        """

    def expect(self, extents: Sequence[Extent], *, owner: object = None) -> bool:
        """Begin to fetch the data blocks of `extents` that are not cached. False if there is no room now.

        `owner`: the reader for which they are read ahead; None if they are needed now.
        """

    def share(self, owner: object) -> tuple[int, int]:
        """The bytes that a reader may have read ahead now, so that there is room for the others'; and what is left.

        `owner`: as for `expect`.
        """

    def disown(self, owner: object) -> None:
        """Note that a reader left off: what was read ahead for it may make room for others."""

    def prepare(self, at: Extent) -> None:
        """Decode a data block in another thread, if its bytes are cached."""


class OpenFile:
    """Reads one file, for any number of threads at once. Holds no data of its own."""

    def __init__(self, reader: BlockSource, content: list[Piece] | Paged, size: int) -> None:
        self.size = size
        self._reader = reader
        self._pieces = Pieces(reader, content)
        self._runs: tuple[Run, Run] = (([], []), ([], []))  # where reading is, and where read-ahead is
        self._simple = isinstance(content, list) and len(content) < 2  # nothing to read ahead
        self._lock = threading.Lock()
        self._expected = 0  # offset where sequential reading continues
        self._progress = 0  # bytes read in sequence
        self._planned = 0  # offset up to which blocks were requested
        self._window = 0
        self._prepared = -1  # start of the piece after which pieces are being decoded

    def read(self, offset: int, length: int) -> Buffer:
        """`length` bytes from `offset`; fewer only at the end of the file. Holes are zeros.

        Raises Damaged, MissingData or StoreError if any of the bytes can't be had.
        """
        parts = self.parts(offset, length)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def parts(self, offset: int, length: int, *, repeated: bool = False) -> list[Buffer]:
        """As `read`, without copying: views of the blocks in memory, for immediate use.

        `repeated`: a thread that could not wait has begun this read, so the read-ahead knows of it already.
        """
        end = min(offset + length, self.size)
        if offset >= end:
            return []
        if not self._simple and not repeated:
            try:
                self._look_ahead(offset, end)
            except RpdriveError:
                pass  # the fault is not in this read but in a later one, which will raise it
        parts: list[Buffer] = []
        position = offset
        while position < end:
            start, piece = self._piece_at(position)
            inner = position - start
            take = min(piece.length - inner, end - position)
            if isinstance(piece, Hole):
                parts.append(bytes(take))
            else:
                # A place in the midst of a file that is not read in sequence: nothing follows from it.
                alone = start > 0 and self._progress < SURE
                parts.append(self._reader.chunk(PackKind.DATA, piece, alone=alone)[inner : inner + take])
            position += take
        self._reader.counters.add("bytes_served", end - offset)
        return parts

    def seek(self, offset: int, *, data: bool) -> int | None:
        """The position where data (`data`) or a hole begins, at or after `offset`; None if there is none.

        The end of a file counts as a hole. Raises Damaged, MissingData or StoreError.
        """
        position = offset
        while position < self.size:
            start, piece = self._piece_at(position)
            if isinstance(piece, Hole) is not data:
                return position
            position = start + piece.length
        return None if data or offset >= self.size else self.size

    def _piece_at(self, position: int) -> tuple[int, Piece]:
        starts, pieces = self._run_at(position)
        n = bisect_right(starts, position) - 1
        return starts[n], pieces[n]

    def _run_at(self, position: int) -> Run:
        """The run of pieces that contains a position within the file. Raises Damaged if there is none."""
        runs = self._runs  # read once: another thread may replace them
        for run in runs:
            if _holds(run, position):
                return run
        run = self._pieces.run(position)
        if _holds(run, position):
            self._runs = (run, runs[0])
            return run
        raise Damaged(f"a file of {self.size} bytes has no data from byte {position} on")

    # --- reading ahead ------------------------------------------------------------------------------------

    def _look_ahead(self, offset: int, end: int) -> None:
        with self._lock:
            if abs(offset - self._expected) > SLACK:
                if self._planned > self._expected:
                    self._reader.disown(self)
                self._progress = self._window = self._planned = 0
                self._expected = end
            elif end > self._expected:
                self._progress += end - self._expected
                self._expected = end
            position, sure = self._expected, self._progress >= SURE
            self._planned = max(self._planned, position)
            if sure and self._planned < self.size:
                window = min(max(2 * self._window, FIRST_WINDOW), WINDOW)
                share, left = self._reader.share(self)
                stretch = STRETCH if window <= share // 2 else 0
                window = min(window, share // 2)  # the next is read while this one is used
                # Windows grow as the file is read; of the largest, as many are under way as there is room for.
                due = self._window >= window or self._planned - position <= self._window
                if due and left >= window >= LEAST:
                    extents, planned = self._upcoming(self._planned, window, stretch=stretch)
                    if self._reader.expect(extents, owner=self):
                        self._planned, self._window = planned, window
        if end - offset > SURE:
            wanted, _end = self._upcoming(offset, 1 << 62, end)
            if len(wanted) > 1:
                self._reader.expect(wanted)
        if sure:
            self._prepare(end)

    def _upcoming(
        self, position: int, window: int, end: int = 1 << 62, stretch: int = STRETCH
    ) -> tuple[list[Extent], int]:
        """Blocks from `position`, about `window` stored bytes of them, and where in the file they end."""
        extents: list[Extent] = []
        stored = 0
        kept, kept_to = 0, position  # blocks to return even if a run is cut short
        while position < min(self.size, end):
            start, piece = self._piece_at(position)
            if isinstance(piece, Extent):
                last = extents[-1] if extents else None
                follows = last is not None and (piece.pack, piece.offset) == (last.pack, last.offset + last.stored)
                if stored >= window:
                    if not follows:
                        return extents, position
                    if stored + piece.stored > max(window, stretch):
                        return extents[:kept], kept_to
                extents.append(piece)
                stored += piece.stored
            position = start + piece.length
            if not kept or stored <= window:
                kept, kept_to = len(extents), position
        return extents, position

    def _prepare(self, position: int) -> None:
        """Have the blocks after the one at `position` decoded in other threads."""
        if position >= self.size:
            return
        start, piece = self._piece_at(position)
        if start == self._prepared:
            return
        self._prepared = start
        ahead = 0
        position = start + piece.length
        while position < self.size and ahead < DECODE_AHEAD:
            start, piece = self._piece_at(position)
            if isinstance(piece, Extent):
                self._reader.prepare(piece)
            ahead += piece.length
            position = start + piece.length


def _holds(run: Run, position: int) -> bool:
    starts, pieces = run
    return bool(starts) and starts[0] <= position < starts[-1] + pieces[-1].length
