"""The plan of a restore: every piece of every file, in the order in which packs hold them.

Memory stays bounded: pieces are kept as bytes that sort as they do; beyond a limit, sorted runs go to a spool.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from catalog.format.blocks import PackKind
from catalog.format.packs import Extent
from catalog.places import Places
from mount.restore.file_plan import FilePlan, Row
from mount.restore.folder import Folder
from mount.restore.folder_table import FolderTable
from mount.restore.spill import BLOCK, block_of, pack_row, unpack_row
from mount.restore.spool import Spool

MIB = 1 << 20
LIMIT = 24 * MIB  # bytes of pieces in memory: of some 120,000
MOST = 18 * MIB  # bytes of one range: a pack of 32 MiB and its last block take two
GAP = MIB  # bytes between two blocks: reading them costs less than another request
MANY = 8  # packs; before the next one is planned, records of places are read
GAP_SHARE = 24  # at most 1/24 of a range (4 %) may be gaps
_OBJECT = 41  # bytes that an object of bytes takes beyond its contents, with its place in a list
_BLOCKS = 32  # blocks in one record of a spool
_PARTS = 8 * MIB  # bytes of all runs that are in memory while they are merged
_LEAST, _MOST = 2 << 10, 32 << 10  # bytes of each


class Range(NamedTuple):
    """Neighbouring blocks that one request reads from a pack or carrier. `blocks`: their offsets there."""

    holder: bytes
    start: int
    end: int
    blocks: list[int]


class _Run(NamedTuple):
    """Where a sorted run is in the spools: its rows, and its blocks."""

    start: int
    end: int
    first_block: int
    last_block: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[int, int, int]]).decode


class Plan:
    """Collects pieces in any order and returns them sorted. `limit`: bytes of them to keep in memory.

    Packs whose blocks lie in one carrier are next to each other, in their order there.
    """

    def __init__(self, folders: FolderTable, places: Places, limit: int = LIMIT) -> None:
        self._folders = folders
        self._places = places
        self._limit = limit
        self._size = 0
        self._rows: list[bytes] = []
        self._runs: list[_Run] = []
        self._spool, self._blocks = Spool(), Spool()
        self._numbers: dict[bytes, int] = {}
        self._packs: list[bytes] = []

    def add(self, file: FilePlan, pieces: Iterable[tuple[int, Extent]]) -> None:
        """Add pieces of a file to fetch, each with its position in the file (bytes)."""
        rows = self._rows
        for position, at in pieces:
            order = self._numbers.get(at.pack)
            if order is None:
                order = self._number(at.pack)
            packed = pack_row(order, at, position, file)
            rows.append(packed)
            self._size += len(packed) + _OBJECT
            if self._size >= self._limit:
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

    def packed_rows(self) -> Iterator[bytes]:
        """All pieces in the order of packs and offsets, packed. May be called again."""
        self._sort()
        return heapq.merge(*(self._read_rows(run) for run in self._runs)) if self._runs else iter(self._rows)

    def rows(self) -> Iterator[Row]:
        """All pieces in the order of packs and offsets. May be called again."""
        return map(self.unpack, self.packed_rows())

    def unpack(self, packed: bytes) -> Row:
        """The piece. Thread-safe."""
        return unpack_row(packed, self._folders.get)

    def folder(self, number: int) -> Folder:
        """A folder by its number. Thread-safe."""
        return self._folders.get(number)

    def ranges(self) -> Iterator[Range]:
        """The ranges to read from the store, in order. Gaps that cost less than a request are read, too."""
        self._sort()
        blocks: list[int] = []
        holder, start, end, waste = b"", 0, 0, 0
        for block in self._all_blocks():
            there, offset, stored, *_chunk = self._places.locate(PackKind.DATA, self._extent(*block))
            gap, last = offset - end, offset + stored
            joined = (
                bool(blocks) and there == holder and 0 <= gap <= GAP and last - start <= MOST
                and (waste + gap) * GAP_SHARE <= last - start
            )  # fmt: skip
            if not joined:
                if blocks:
                    yield Range(holder, start, end, blocks)
                blocks, holder, start, waste, gap = [], there, offset, 0, 0
            blocks.append(offset)
            end = last
            waste += gap
        if blocks:
            yield Range(holder, start, end, blocks)

    def is_pack(self, wanted: Range) -> bool:
        """Whether the blocks of a range are in their own pack."""
        return wanted.holder in self._numbers

    def block(self, packed: bytes) -> Extent:
        """The whole block of a piece."""
        return self._extent(*block_of(packed))

    def extent(self, row: Row) -> Extent:
        return Extent(self._packs[row.pack], row.offset, row.stored, row.inner, row.length, row.chunk)

    def _extent(self, pack: int, offset: int, stored: int) -> Extent:
        return Extent(self._packs[pack], offset, stored, 0, 0, b"")

    def close(self) -> None:
        self._spool.close()
        self._blocks.close()
        self._rows.clear()

    # --- in memory, or in the spools ------------------------------------------------------------------------------

    def _sort(self) -> None:
        """Sort what is in memory; if there are runs, make it another one."""
        if self._runs and self._rows:
            self._spill()
        self._rows.sort()

    def _all_blocks(self) -> Iterator[tuple[int, int, int]]:
        """All blocks, each once, in order: the number of the pack, offset and stored length."""
        if not self._runs:
            yield from _blocks(self._rows)
            return
        before = None
        for block in heapq.merge(*(self._read_blocks(run) for run in self._runs)):
            if block != before:
                yield block
            before = block

    def _spill(self) -> None:
        self._rows.sort()
        start, first_block = self._spool.end, self._blocks.end
        blocks: list[tuple[int, int, int]] = []
        for block in _blocks(self._rows):
            blocks.append(block)
            if len(blocks) == _BLOCKS:
                self._blocks.append(_encode(blocks))
                blocks.clear()
        self._blocks.append(_encode(blocks))
        self._spool.extend(self._rows)
        self._runs.append(_Run(start, self._spool.end, first_block, self._blocks.end))
        self._rows.clear()
        self._size = 0

    def _read_rows(self, run: _Run) -> Iterator[bytes]:
        at_once = min(max(_PARTS // len(self._runs), _LEAST), _MOST)
        return self._spool.records(run.start, run.end, at_once)

    def _read_blocks(self, run: _Run) -> Iterator[tuple[int, int, int]]:
        for record in self._blocks.records(run.first_block, run.last_block, _LEAST):
            yield from _decode(record)


def _blocks(rows: Iterable[bytes]) -> Iterator[tuple[int, int, int]]:
    """The blocks of sorted rows, each once."""
    before = b""
    for row in rows:
        if row[:BLOCK] != before:
            before = row[:BLOCK]
            yield block_of(row)
