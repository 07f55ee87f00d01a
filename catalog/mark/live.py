"""The bytes of packs that something refers to, gathered in any order, and given by pack.

Memory is bounded: what does not fit is sorted and written to temporary files, which have no name and hold nothing
but ids of packs and offsets.
"""

from __future__ import annotations

import heapq
import struct
from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import TypeAlias

from catalog.format.blocks import PackKind
from catalog.format.keys import ID_BYTES
from catalog.mark.spill import Spill

RECENT = 100_000  # blocks that are gathered before they are joined to spans: 10 MB
HELD = 16 << 20  # bytes that joined spans may occupy in memory, about
_PACK_COST = 300  # bytes in memory that a pack costs beside its spans
_SPAN_COST = 16
AT_ONCE = 4096  # rows that are written or read at once
ROW = struct.Struct(">B16sQQ")  # kind, pack, from, to; sorts as bytes
STORED_BITS = 24  # of the length of a sealed block, which has at most 2^23 + 21 bytes

Span: TypeAlias = tuple[int, int]  # bytes of a pack, [from, to)
_Key: TypeAlias = bytes  # kind (1 byte) and pack


class Live:
    """Spans of bytes by pack. Nothing may be added while `spans` is iterated.

    Not thread-safe. `close` removes the temporary files. Raises LocalError if these can't be used.
    """

    def __init__(self, recent: int = RECENT, held: int = HELD) -> None:
        self._most_recent, self._most_held = recent, held
        self._recent: dict[_Key, set[int]] = {}
        self._count = 0
        self._joined: dict[_Key, array[int]] = {}
        self._runs: list[Spill] = []

    def add(self, kind: int, pack: bytes, offset: int, stored: int) -> None:
        """Add a block: `stored` bytes from `offset` of a pack."""
        self.add_blocks(kind, pack, ((offset << STORED_BITS) | stored,))

    def add_blocks(self, kind: int, pack: bytes, blocks: Iterable[int]) -> None:
        """Add blocks of one pack, each as `packed` returns it."""
        key = bytes((kind,)) + pack
        known = self._recent.get(key)
        if known is None:
            known = self._recent[key] = set()
        before = len(known)
        known.update(blocks)
        self._count += len(known) - before
        if self._count >= self._most_recent:
            self._join()

    def add_span(self, kind: int, pack: bytes, start: int, end: int) -> None:
        """Add a span of any length, that an earlier gathering has joined."""
        key = bytes((kind,)) + pack
        spans = self._joined.get(key)
        if spans is None:
            self._joined[key] = array("Q", (start, end))
        elif start > spans[-1]:  # they come in order, as a rule
            spans.extend((start, end))
        else:
            self._joined[key] = array("Q", _flat(_joined([*_pairs(spans), (start, end)])))
        self._count += 1
        if self._count >= self._most_recent:
            self._join()

    def add_rows(self, count: int, parts: Iterable[bytes]) -> None:
        """Add spans that `rows` of another one gave, `count` of them, in the same order. Parts are whole rows."""
        if count * _SPAN_COST * 4 <= self._most_held:
            for part in parts:
                for row in ROW.iter_unpack(part):
                    self.add_span(*row)
            return
        file, at = Spill(), 0
        self._runs.append(file)
        for part in parts:
            file.write(at, part)
            at += len(part)

    def rows(self) -> Iterator[bytes]:
        """All spans, each packed as ROW, in the order of their bytes."""
        for kind in (PackKind.DATA, PackKind.TREE):
            for pack, spans in self.spans(kind):
                for start, end in spans:
                    yield ROW.pack(kind, pack, start, end)

    def _join(self) -> None:
        """Join what was gathered to spans; write those to a file if there are too many."""
        for key, blocks in self._recent.items():
            new = [(b >> STORED_BITS, (b >> STORED_BITS) + (b & ((1 << STORED_BITS) - 1))) for b in blocks]
            old = self._joined.get(key)
            self._joined[key] = array("Q", _flat(_joined(new if old is None else [*_pairs(old), *new])))
        self._recent, self._count = {}, 0
        if (
            sum(map(len, self._joined.values())) * _SPAN_COST // 2 + len(self._joined) * _PACK_COST
            > self._most_held
        ):
            self._spill()

    def _spill(self) -> None:
        file, at = Spill(), 0
        self._runs.append(file)
        for rows in batched(self._memory_rows(), AT_ONCE):
            file.write(at, data := b"".join(rows))
            at += len(data)
        self._joined = {}

    def _memory_rows(self, kind: int | None = None) -> Iterator[bytes]:
        for key in sorted(self._joined):
            if kind is None or key[0] == kind:
                for start, end in _pairs(self._joined[key]):
                    yield ROW.pack(key[0], key[1:], start, end)

    def spans(self, kind: PackKind) -> Iterator[tuple[bytes, list[Span]]]:
        """Each pack of this kind with live bytes, by id ascending: its spans in order, adjacent ones joined."""
        self._join()
        if not self._runs:
            for key in sorted(key for key in self._joined if key[0] == kind):
                yield key[1:], list(_pairs(self._joined[key]))
            return
        rows = heapq.merge(*(_rows(run, kind) for run in self._runs), self._memory_rows(kind))
        fields = (ROW.unpack(row) for row in rows)
        for pack, some in groupby(fields, key=lambda row: bytes(row[1])):
            yield pack, list(_joined((start, end) for _kind, _pack, start, end in some))

    def bytes_of(self, kind: PackKind) -> int:
        """The live bytes of all packs of this kind."""
        return sum(end - start for _pack, spans in self.spans(kind) for start, end in spans)

    def close(self) -> None:
        """Remove the temporary files."""
        for run in self._runs:
            run.close()
        self._runs = []


def packed(offset: int, stored: int) -> int:
    """A block as one number, for `Live.add_blocks`."""
    return (offset << STORED_BITS) | stored


def unpacked(block: int) -> tuple[int, int]:
    """The offset and the stored length of a block."""
    return block >> STORED_BITS, block & ((1 << STORED_BITS) - 1)


def _joined(spans: Iterable[Span]) -> Iterator[Span]:
    """Spans in order, with those that touch or overlap as one."""
    last: Span | None = None
    for start, end in sorted(spans):
        if last is not None and start <= last[1]:
            last = last[0], max(last[1], end)
            continue
        if last is not None:
            yield last
        last = start, end
    if last is not None:
        yield last


def _pairs(flat: array[int]) -> Iterator[Span]:
    return zip(flat[::2], flat[1::2], strict=True)


def _flat(spans: Iterable[Span]) -> Iterator[int]:
    for start, end in spans:
        yield start
        yield end


def _rows(file: Spill, kind: int) -> Iterator[bytes]:
    """The rows of one kind in a file."""
    at = 0
    while data := file.read(at, AT_ONCE * ROW.size):
        for n in range(0, len(data), ROW.size):
            row = data[n : n + ROW.size]
            if row[0] == kind:
                yield row
            elif row[0] > kind:
                return
        at += len(data)


def batched(rows: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    """The rows in lists of `size`; the last may be shorter."""
    rest = iter(rows)
    while some := list(islice(rest, size)):
        yield some


assert ROW.size == 1 + ID_BYTES + 16
