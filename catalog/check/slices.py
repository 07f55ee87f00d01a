"""Which slices of a series of packs are read next: 256 of them, by the sixth byte of pack ids. Pure functions.

A slice that was never read comes first, then those read longest ago. A run that is to read a share of the vault
reads whole slices; what it reads beyond its share is left out by the next run. So at 1 % a day all slices have
been read after 100 days, and none twice. A pack that is stored after its slice was read waits until the slice is
read again, but does not count as read until then.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from catalog.check.packs import Target
from catalog.format.blocks import PackKind
from catalog.format.checks import SLICES, ChecksRecord, PartRow, SliceRow, slice_of
from catalog.format.packs import SERIES_BYTES

THOUSANDTHS = 1000  # of a slice
_AT_ONCE = 20_000  # packs whose spans are in memory
Span: TypeAlias = tuple[int, int]


class LiveSpans(Protocol):
    """What points refer to."""

    def spans(self, kind: PackKind) -> Iterator[tuple[bytes, list[Span]]]:
        """Each pack of this kind with live bytes, by id ascending: its spans in order, adjacent ones joined."""


class Sizes(NamedTuple):
    """Packs and bytes of blocks in use, of each slice."""

    packs: array[int]
    bytes: array[int]

    def of(self, slices: Iterable[int]) -> tuple[int, int]:
        """Packs and bytes of these slices."""
        chosen = list(slices)
        return sum(self.packs[n] for n in chosen), sum(self.bytes[n] for n in chosen)


class Share(NamedTuple):
    """How many slices a run reads, and the thousandths of a slice that this is ahead of its share."""

    slices: int
    ahead: int


def share_of(percent: float, ahead: int) -> Share:
    """The slices of a run that is to read so many per cent, after runs that were `ahead`.

    0 < percent <= 100; 100 is always all slices.
    """
    if percent >= 100:
        return Share(SLICES, 0)
    wanted = max(round(percent * SLICES * THOUSANDTHS / 100), 1)
    slices = min(math.ceil(max(wanted - ahead, 0) / THOUSANDTHS), SLICES)
    return Share(slices, max(ahead + slices * THOUSANDTHS - wanted, 0))


def order_of(record: ChecksRecord | None) -> list[int]:
    """All slices, in the order in which they are to be read. A slice that was begun comes before its equals."""
    read = {row.slice: row.read for row in record.slices} if record is not None else {}
    begun = {row.slice for row in record.parts} if record is not None else set()
    return sorted(range(SLICES), key=lambda n: (read.get(n, 0), n not in begun, n))


def sizes_of(live: LiveSpans, series: bytes) -> Sizes:
    """The sizes of all slices of a series."""
    sizes = Sizes(array("Q", bytes(8 * SLICES)), array("Q", bytes(8 * SLICES)))
    for kind in (PackKind.DATA, PackKind.TREE):
        for pack, spans in live.spans(kind):
            if pack[:SERIES_BYTES] == series:
                sizes.packs[slice_of(pack)] += 1
                sizes.bytes[slice_of(pack)] += sum(end - start for start, end in spans)
    return sizes


def series_of(live: LiveSpans) -> list[bytes]:
    """The series of all packs that points refer to."""
    return sorted({pack[:SERIES_BYTES] for k in (PackKind.DATA, PackKind.TREE) for pack, _spans in live.spans(k)})


def targets_of(
    live: LiveSpans, series: bytes, slices: Sequence[int], sizes: Sizes, at_once: int = _AT_ONCE
) -> Iterator[tuple[int, list[Target]]]:
    """The packs of each of these slices, in their order: data packs, then tree packs, by id.

    Goes through what is live once for each group of slices that fits into memory.
    """
    group, size = list[int](), 0
    for n in [*slices, None]:
        if group and (n is None or size + sizes.packs[n] > at_once):
            found: dict[int, list[Target]] = {one: [] for one in group}
            for kind in (PackKind.DATA, PackKind.TREE):
                for pack, spans in live.spans(kind):
                    if pack[:SERIES_BYTES] == series and slice_of(pack) in found:
                        found[slice_of(pack)].append(Target(kind, pack, spans))
            for one in group:
                yield one, found.pop(one)
            group, size = [], 0
        if n is not None:
            group.append(n)
            size += sizes.packs[n]


def rest_of(targets: Iterable[Target], part: PartRow | None) -> list[Target]:
    """The packs of a slice that are left to read after a part of it was read."""
    if part is None:
        return list(targets)
    return [target for target in targets if (int(target.kind), target.pack) > (part.kind, part.pack)]


def oldest(record: ChecksRecord | None) -> int:
    """The time (ns, by the store) that all of a series was read after; 0 if some of it never was."""
    rows: Sequence[SliceRow] = record.slices if record is not None else ()
    return min(row.read for row in rows) if len(rows) == SLICES else 0
