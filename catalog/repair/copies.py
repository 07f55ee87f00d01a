"""Finds other copies of lost chunks, in other packs of the series: by index objects and tables of contents.

What they say is a hint: a copy counts only once it has been read, and has the chunk's id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from catalog.format.blocks import PackKind
from catalog.format.packs import Extent
from catalog.format.records import IndexedPack
from catalog.repair.verify import Block, Reading
from catalog.repair.work import Work
from catalog.vault import Vault

AT_ONCE = 20_000  # lost chunks that are looked for at a time: 15 MB


class Copies:
    """Other copies of lost chunks.

    `usable` says whether upkeep leaves a place alone: what it hides may be about to go. `tables` gives the tables
    of contents of all packs and carriers of a kind that the vault has, as far as they can be read.
    """

    def __init__(
        self,
        vault: Vault,
        work: Work,
        usable: Callable[[PackKind, Extent], bool],
        tables: Callable[[PackKind], Iterable[Sequence[IndexedPack]]],
    ) -> None:
        self._reading, self._work = Reading(vault), work
        self._usable, self._tables = usable, tables
        self._has_trees = False

    def of_tree(self, at: Extent) -> Extent | None:
        """Another copy of one tree chunk. The tables of contents are read when the first one is asked for."""
        if not self._has_trees:
            self._has_trees = True
            for packs in self._tables(PackKind.TREE):
                for pack in packs:
                    for row in pack.blocks:
                        self._work.add_candidates(PackKind.TREE, row.extents(pack.pack))
        return self._first(PackKind.TREE, at)

    def find(self, progress: Callable[[int], None] = lambda n: None) -> int:
        """Look for all lost chunks of data packs that have no copy yet. How many were found.

        `progress` gets the number of chunks that were looked for.
        """
        found = looked = 0
        rows = self._work.lost(PackKind.DATA, most=AT_ONCE)
        while rows:
            wanted = {at.id for at in rows}
            for packs in self._tables(PackKind.DATA):
                self._work.add_candidates(PackKind.DATA, _among(packs, wanted))
            for at, other in self._copied(rows):
                self._work.add_copy(PackKind.DATA, at, other)
                found += 1
            looked += len(rows)
            progress(looked)
            rows = self._work.lost(PackKind.DATA, most=AT_ONCE, after=rows[-1])
        return found

    def _copied(self, rows: Sequence[Extent]) -> Iterator[tuple[Extent, Extent]]:
        """Lost chunks and the copies that were read. A block with many of them is read once."""
        by_block: dict[tuple[bytes, int], list[tuple[Extent, Extent]]] = {}
        for at in rows:
            other = next(self._possible(PackKind.DATA, at), None)
            if other is not None:
                by_block.setdefault((other.pack, other.offset), []).append((at, other))
        blocks = [Block(PackKind.DATA, tuple(o for _at, o in by_block[place])) for place in sorted(by_block)]
        bad = {(lost.block.at.pack, lost.block.at.offset) for lost in self._reading.run(blocks)}
        for place, pairs in by_block.items():
            for at, other in pairs:
                good = other if place not in bad else self._first(PackKind.DATA, at)
                if good is not None:
                    yield at, good

    def _possible(self, kind: PackKind, at: Extent) -> Iterator[Extent]:
        return (other for other in self._work.candidates(kind, at) if self._usable(kind, other))

    def _first(self, kind: PackKind, at: Extent) -> Extent | None:
        """The first copy that can be read. What only an index object says about others is no sign of damage."""
        return next((o for o in self._possible(kind, at) if self._reading.look(Block(kind, (o,))) is None), None)


def _among(packs: Sequence[IndexedPack], wanted: set[bytes]) -> Iterator[Extent]:
    for pack in packs:
        for row in pack.blocks:
            if wanted.isdisjoint(row.chunks()):
                continue
            for at in row.extents(pack.pack):
                if at.id in wanted:
                    yield at
