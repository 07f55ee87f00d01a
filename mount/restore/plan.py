"""The plan of a restore: every piece of every file, in the order in which packs hold them.

Memory stays bounded: beyond `limit` pieces, sorted runs go to a temporary file without a name.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

from catalog.format.packs import Extent
from mount.restore.file_plan import FilePlan, Row
from mount.restore.spill import read_run, write_run
from mount.restore.target import Folder

LIMIT = 100_000  # pieces in memory: about 60 MB
MIB = 1 << 20
MOST = 18 * MIB  # bytes of one range read: a pack of 32 MiB and its last block come in two
GAP = MIB  # bytes between two blocks that cost less than a request
GAP_SHARE = 24  # and never more than one byte in so many


class Range(NamedTuple):
    """Neighbouring blocks of a pack, to be read by one request; the rows of each block."""

    pack: bytes
    start: int
    end: int
    blocks: list[list[Row]]


class Plan:
    """Pieces come by `add`, in any order, and go by `rows`, sorted."""

    def __init__(self, folders: list[Folder], limit: int = LIMIT) -> None:
        self._folders = folders
        self._limit = limit
        self._rows: list[Row] = []
        self._runs: list[IO[bytes]] = []
        self._numbers: dict[bytes, int] = {}
        self._packs: list[bytes] = []

    def add(self, file: FilePlan, pieces: Iterable[tuple[int, Extent]]) -> None:
        """The pieces of a file that are to be fetched: where in the file (bytes), and where they are."""
        numbers, rows, number = self._numbers, self._rows, file.number
        for position, (pack, offset, stored, inner, length, chunk) in pieces:
            order = numbers.get(pack)
            if order is None:
                order = numbers[pack] = len(numbers)
                self._packs.append(pack)
            rows.append(Row(order, offset, stored, inner, length, chunk, number, position, file))
        if len(rows) >= self._limit:
            self._spill()

    def rows(self) -> Iterator[Row]:
        """All pieces by place. Can be asked for again."""
        self._rows.sort()
        if not self._runs:
            return iter(self._rows)
        return heapq.merge(self._rows, *(read_run(run, self._folders) for run in self._runs))

    def ranges(self) -> Iterator[Range]:
        """What to read from the store, in order: blocks with their neighbours."""
        blocks: list[list[Row]] = []
        pack = start = end = waste = 0
        for block in self._blocks():
            order, offset, stored = block[0].pack, block[0].offset, block[0].stored
            gap = offset - end
            joined = (
                bool(blocks) and order == pack and 0 <= gap <= GAP and offset + stored - start <= MOST
                and (waste + gap) * GAP_SHARE <= offset + stored - start
            )  # fmt: skip
            if not joined:
                if blocks:
                    yield Range(self._packs[pack], start, end, blocks)
                blocks, pack, start, waste, gap = [], order, offset, 0, 0
            blocks.append(block)
            end = offset + stored
            waste += gap
        if blocks:
            yield Range(self._packs[pack], start, end, blocks)

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
