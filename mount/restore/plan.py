"""The plan of a restore: every piece of every file, in the order in which packs hold them.

Memory stays bounded: beyond `limit` pieces, sorted runs go to a temporary file without a name.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any, NamedTuple, TypeAlias

import msgspec

from catalog.format.packs import Extent
from catalog.format.values import OutOfLine, Owner
from mount.restore import spilled as known
from mount.restore.disk.attributes import Attributes
from mount.restore.disk.target import Folder

LIMIT = 100_000  # pieces in memory: about 60 MB
MIB = 1 << 20
MOST = 18 * MIB  # bytes of one range read: a pack of 32 MiB and its last block come in two
GAP = MIB  # bytes between two blocks that cost less than a request
GAP_SHARE = 24  # and never more than one byte in so many
_BATCH = 512


class FilePlan:
    """A file that is to be written. `name` is the entry's, `final` what it shall be called in `folder`.

    `whole`: it comes in one piece. `todo` is the bytes to fetch; `temporary` what an earlier run has left of it;
    `link` numbers a file of several links; `time` (ns, UTC) is the point's, for the name of a copy.
    """

    __slots__ = (
        "attributes", "final", "folder", "link", "name", "number", "replace", "size", "temporary", "time", "todo",
        "whole",
    )  # fmt: skip

    def __init__(
        self, number: int, folder: Folder, name: bytes, final: bytes, size: int, attributes: Attributes,
        replace: bool, link: int, time: int, whole: bool = True, todo: int = 0, temporary: bytes = b"",
    ) -> None:  # fmt: skip
        self.number = number
        self.folder = folder
        self.name = name
        self.final = final
        self.size = size
        self.attributes = attributes
        self.replace = replace
        self.link = link
        self.time = time
        self.whole = whole
        self.todo = todo
        self.temporary = temporary

    def path(self) -> bytes:
        return self.folder.path(self.final)


# Pack (its number, in order of appearance), offset, stored, inner, length, chunk id; file number, offset in the
# file; the file. Tuples, because they sort fast; no two are equal before the last.
Row: TypeAlias = tuple[int, int, int, int, int, bytes, int, int, FilePlan]


class _FileRow(msgspec.Struct, array_like=True, gc=False):
    """A FilePlan in a run."""

    number: int
    folder: int
    name: bytes
    final: bytes
    size: int
    kind: int
    mode: int
    owner: tuple[int, int, str, str]
    mtime: int
    xattrs: list[tuple[bytes, bytes | tuple[bytes, int, int, int, int, bytes]]] | None
    foreign: bool
    replace: bool
    link: int
    time: int
    whole: bool
    todo: int
    temporary: bytes
    windows: Any


_Packed: TypeAlias = tuple[int, int, int, int, int, bytes, int, int, _FileRow]
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[_Packed])


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
            rows.append((order, offset, stored, inner, length, chunk, number, position, file))
        if len(rows) >= self._limit:
            self._spill()

    def rows(self) -> Iterator[Row]:
        """All pieces by place. Can be asked for again."""
        self._rows.sort()
        if not self._runs:
            return iter(self._rows)
        return heapq.merge(self._rows, *(self._read(run) for run in self._runs))

    def ranges(self) -> Iterator[Range]:
        """What to read from the store, in order: blocks with their neighbours."""
        blocks: list[list[Row]] = []
        pack = start = end = waste = 0
        for block in self._blocks():
            order, offset, stored = block[0][:3]
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
        return Extent(self._packs[row[0]], *row[1:6])

    def close(self) -> None:
        for run in self._runs:
            run.close()
        self._rows.clear()

    def _blocks(self) -> Iterator[list[Row]]:
        block: list[Row] = []
        for row in self.rows():
            if block and (row[1] != block[0][1] or row[0] != block[0][0]):
                yield block
                block = []
            block.append(row)
        if block:
            yield block

    # --- runs ---------------------------------------------------------------------------------------------

    def _spill(self) -> None:
        self._rows.sort()
        run = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        for n in range(0, len(self._rows), _BATCH):
            data = _encoder.encode([(*row[:8], _packed(row[8])) for row in self._rows[n : n + _BATCH]])
            run.write(len(data).to_bytes(4, "big") + data)
        self._runs.append(run)
        self._rows.clear()

    def _read(self, run: IO[bytes]) -> Iterator[Row]:
        run.seek(0)
        position = 0
        while True:
            run.seek(position)
            head = run.read(4)
            if not head:
                return
            data = run.read(int.from_bytes(head, "big"))
            position = run.tell()
            for packed in _decoder.decode(data):
                yield (*packed[:8], self._unpacked(packed[8]))

    def _unpacked(self, row: _FileRow) -> FilePlan:
        xattrs = None
        if row.xattrs is not None:
            xattrs = {n: v if isinstance(v, bytes) else OutOfLine(Extent(*v)) for n, v in row.xattrs}
        attributes = Attributes(
            row.kind, row.mode, Owner(*row.owner), row.mtime, xattrs, row.foreign, known.unpacked(row.windows)
        )  # fmt: skip
        return FilePlan(
            row.number, self._folders[row.folder], row.name, row.final, row.size, attributes, row.replace,
            row.link, row.time, row.whole, row.todo, row.temporary,
        )  # fmt: skip


def _packed(file: FilePlan) -> _FileRow:
    a = file.attributes
    xattrs = None
    if a.xattrs is not None:
        xattrs = [(n, (*v.at,) if isinstance(v, OutOfLine) else v) for n, v in a.xattrs.items()]
    return _FileRow(
        file.number, file.folder.number, file.name, file.final, file.size, a.kind, a.mode, (*a.owner,), a.mtime,
        xattrs, a.foreign, file.replace, file.link, file.time, file.whole, file.todo, file.temporary,
        known.packed(a.windows),
    )  # fmt: skip
