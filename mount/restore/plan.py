"""The plan of a restore: every piece of every file, in the order in which packs hold them.

Memory stays bounded: beyond `limit` pieces, sorted runs go to a temporary file without a name.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

from catalog.format.blocks import PackKind
from catalog.format.packs import Extent
from catalog.places import Places
from mount.restore.file_plan import FilePlan, Row
from mount.restore.spill import read_run, write_run
from mount.restore.target import Folder

LIMIT = 100_000  # pieces in memory: about 60 MB
MIB = 1 << 20
MOST = 18 * MIB  # bytes of one range: a pack of 32 MiB and its last block take two
GAP = MIB  # bytes between two blocks: reading them costs less than another request
MANY = 8  # packs; before the next one is planned, records of places are read
GAP_SHARE = 24  # at most 1/24 of a range (4 %) may be gaps


class Range(NamedTuple):
    """Neighbouring blocks that one request reads from a pack or carrier: the rows of each, and its offset there."""

    holder: bytes
    start: int
    end: int
    blocks: list[tuple[int, list[Row]]]


class Plan:
    """Collects pieces in any order and returns them sorted. `limit`: pieces to keep in memory.

    Packs whose blocks lie in one carrier are next to each other, in their order there.
    """

    def __init__(self, folders: list[Folder], places: Places, limit: int = LIMIT) -> None:
        self._folders = folders
        self._places = places
        self._limit = limit
        self._rows: list[Row] = []
        self._runs: list[IO[bytes]] = []
        self._numbers: dict[bytes, int] = {}
        self._packs: list[bytes] = []

    def add(self, file: FilePlan, pieces: Iterable[tuple[int, Extent]]) -> None:
        """Add pieces of a file to fetch, each with its position in the file (bytes)."""
        rows, number = self._rows, file.number
        for position, (pack, offset, stored, inner, length, chunk) in pieces:
            order = self._numbers.get(pack)
            if order is None:
                order = self._number(pack)
            rows.append(Row(order, offset, stored, inner, length, chunk, number, position, file))
        if len(rows) >= self._limit:
            self._spill()

    def _number(self, pack: bytes) -> int:
        """Give a pack the next number, and so all that lie with it. Raises StoreError."""
        if len(self._packs) == MANY:
            self._places.look(pack)  # one request, which can save one for each pack
        for other in self._places.together(PackKind.DATA, pack):
            if other not in self._numbers:
                self._numbers[other] = len(self._packs)
                self._packs.append(other)
        return self._numbers[pack]

    def rows(self) -> Iterator[Row]:
        """All pieces in the order of packs and offsets. May be called again."""
        self._rows.sort()
        if not self._runs:
            return iter(self._rows)
        return heapq.merge(self._rows, *(read_run(run, self._folders) for run in self._runs))

    def ranges(self) -> Iterator[Range]:
        """The ranges to read from the store, in order. Gaps that cost less than a request are read, too."""
        blocks: list[tuple[int, list[Row]]] = []
        holder, start, end, waste = b"", 0, 0, 0
        for block in self._blocks():
            there, offset, stored, *_chunk = self._places.locate(PackKind.DATA, self.extent(block[0]))
            gap = offset - end
            joined = (
                bool(blocks) and there == holder and 0 <= gap <= GAP and offset + stored - start <= MOST
                and (waste + gap) * GAP_SHARE <= offset + stored - start
            )  # fmt: skip
            if not joined:
                if blocks:
                    yield Range(holder, start, end, blocks)
                blocks, holder, start, waste, gap = [], there, offset, 0, 0
            blocks.append((offset, block))
            end = offset + stored
            waste += gap
        if blocks:
            yield Range(holder, start, end, blocks)

    def is_pack(self, wanted: Range) -> bool:
        """Whether the blocks of a range are in their own pack."""
        return wanted.holder in self._numbers

    def extent(self, row: Row) -> Extent:
        return Extent(self._packs[row.pack], row.offset, row.stored, row.inner, row.length, row.chunk)

    def close(self) -> None:
        for run in self._runs:
            run.close()
        self._rows.clear()

    def _blocks(self) -> Iterator[list[Row]]:
        block: list[Row] = []
        for row in self.rows():
            if block and (row.offset != block[0].offset or row.pack != block[0].pack):
                yield block
                block = []
            block.append(row)
        if block:
            yield block

    def _spill(self) -> None:
        self._rows.sort()
        run = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        write_run(run, self._rows)
        self._runs.append(run)
        self._rows.clear()
