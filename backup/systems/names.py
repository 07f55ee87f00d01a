"""The names in a folder, sorted in bounded memory: a folder may have ten million of them.

A folder of many names is sorted in runs, which are kept compressed (in a temporary file if they are large, too) and
merged while they are read. 10 million names of 17 bytes take some 30 MiB of memory, where a list takes 700.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TypeAlias

import zstandard

RUN = 1 << 16  # names that are sorted at once
_BLOCK = 1 << 10  # names that are compressed together
_SPOOL = 32 << 20  # bytes of blocks in memory; more are in a temporary file


class ManyNames:
    """Names, sorted as bytes, to be read several times. `are_plain`: all are ASCII without capital letters."""

    def __init__(self, names: Iterable[bytes]) -> None:
        self._file = tempfile.SpooledTemporaryFile(_SPOOL)  # noqa: SIM115 - closed with this object
        self._runs: list[list[tuple[int, int]]] = []  # the places and lengths of each run's blocks
        compressor = zstandard.ZstdCompressor(level=1)
        rest, end = iter(names), 0
        self.are_plain = True
        while run := sorted(islice(rest, RUN)):
            blocks = []
            for first in range(0, len(run), _BLOCK):
                joined = b"/".join(run[first : first + _BLOCK])
                self.are_plain = self.are_plain and joined.isascii() and joined == joined.lower()
                block = compressor.compress(joined)
                self._file.write(block)
                blocks.append((end, len(block)))
                end += len(block)
            self._runs.append(blocks)

    def __del__(self) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[bytes]:
        return heapq.merge(*map(self._run, self._runs))

    def _run(self, blocks: list[tuple[int, int]]) -> Iterator[bytes]:
        decompressor = zstandard.ZstdDecompressor()
        for place, length in blocks:
            self._file.seek(place)
            yield from decompressor.decompress(self._file.read(length)).split(b"/")


Names: TypeAlias = "list[bytes] | ManyNames"


def sorted_names(found: Iterable[bytes]) -> Names:
    """Names, sorted as bytes: a list if they are few. No name contains a slash."""
    rest = iter(found)
    first = list(islice(rest, RUN))
    if len(first) < RUN:
        first.sort()
        return first
    return ManyNames(chain(first, rest))
