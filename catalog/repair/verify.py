"""Reads blocks to see which are lost. A block counts as lost if two reads brought other bytes than were written.

A fault of the network is no loss: it ends the run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import NamedTuple

from catalog.errors import Damaged, MissingData, NewerFormat, ShortRead
from catalog.format.blocks import Buffer, PackKind
from catalog.format.packs import Extent
from catalog.vault import Vault

GAP = 256 << 10  # bytes between two blocks that are read with them, since a request costs more
MOST = 4 << 20  # bytes of one request, unless a block is larger
PARALLEL = 6  # requests at once


class Block(NamedTuple):
    """A block, and the chunks in it that something refers to."""

    kind: PackKind
    chunks: tuple[Extent, ...]

    @property
    def at(self) -> Extent:
        return self.chunks[0]


class Lost(NamedTuple):
    """A block that can't be read, and why. `gone`: the vault does not have its bytes at all."""

    block: Block
    reason: str
    gone: bool


def blocks_of(kind: PackKind, chunks: Iterable[Extent]) -> Iterator[Block]:
    """Chunks by block; those of a block must follow each other."""
    for _place, some in groupby(chunks, key=lambda at: (at.pack, at.offset)):
        yield Block(kind, tuple(some))


class Reading:
    """Reads blocks, several at a time. Bounded: some 40 MB are in memory."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def run(self, blocks: Iterable[Block], done: Callable[[int], None] = lambda n: None) -> Iterator[Lost]:
        """The blocks among these that are lost. `done` gets the number of blocks that were read so far.

        Neighbours come in one request. Raises StoreError.
        """
        waiting: deque[tuple[int, Future[list[Lost]]]] = deque()
        count = 0
        with ThreadPoolExecutor(PARALLEL, "verify") as pool:
            try:
                for group in _groups(blocks):
                    waiting.append((len(group), pool.submit(self._group, group)))
                    if len(waiting) >= PARALLEL:
                        size, future = waiting.popleft()
                        yield from future.result()
                        count += size
                        done(count)
                while waiting:
                    size, future = waiting.popleft()
                    yield from future.result()
                    count += size
                    done(count)
            finally:
                for _size, future in waiting:
                    future.cancel()

    def _group(self, group: list[Block]) -> list[Lost]:
        kind, first, last = group[0].kind, group[0].at, group[-1].at
        try:
            end = last.offset + last.stored
            data = memoryview(self._vault.read_pack(kind, first.pack, first.offset, end - first.offset, up_to=True))
        except (Damaged, ShortRead):
            data = memoryview(b"")
        lost = []
        for block in group:
            at = block.at
            sealed = data[at.offset - first.offset :][: at.stored]
            if self._fault(block, sealed) is not None and (found := self.look(block)) is not None:
                lost.append(found)
        return lost

    def look(self, block: Block) -> Lost | None:
        """Read one block, twice if need be; None if all its chunks are there."""
        found: Lost | None = None
        for _ in range(2):
            try:
                sealed = self._vault.fetch_block(block.kind, block.at)
            except MissingData as e:
                return Lost(block, str(e), gone=True)
            except (Damaged, ShortRead) as e:
                found = Lost(block, str(e), gone=False)
                continue
            reason = self._fault(block, sealed)
            if reason is None:
                return None
            found = Lost(block, reason, gone=False)
        return found

    def _fault(self, block: Block, sealed: Buffer) -> str | None:
        """What is wrong with a block; None if it holds its chunks."""
        at = block.at
        if len(sealed) < at.stored:
            return f"block {at.pack.hex()}+{at.offset} is cut short"
        try:
            raw = memoryview(self._vault.open_block(block.kind, at, sealed))
        except NewerFormat:
            return None  # it is not known to be damaged
        except Damaged as e:
            return str(e)
        for chunk in block.chunks:
            data = raw[chunk.inner : chunk.inner + chunk.length]
            if len(data) != chunk.length or self._vault.keys.chunk_id(data) != chunk.id:
                return f"block {at.pack.hex()}+{at.offset} does not contain the expected chunk"
        return None


def _groups(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Blocks that are read in one request, as they follow each other."""
    group: list[Block] = []
    for block in blocks:
        at = block.at
        if group:
            first, last = group[0].at, group[-1].at
            near = first.pack == at.pack and 0 <= at.offset - last.offset - last.stored <= GAP
            if not near or at.offset + at.stored - first.offset > MOST:
                yield group
                group = []
        group.append(block)
    if group:
        yield group
