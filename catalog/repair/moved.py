"""Finds again where blocks of packs were moved to, if the record of places that said so is lost: from carriers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from msgspec.structs import replace

from catalog.errors import RpdriveError
from catalog.format.blocks import PackKind
from catalog.format.packs import HEADER, BlockRow
from catalog.format.places import DeadRow, MovedRow, PlacesRecord, RunRow
from catalog.mark.live import Live, Span
from catalog.places import Run
from catalog.repair.contents import Object, read_all
from catalog.vault import Vault

_Key = tuple[int, bytes]  # kind and id of a pack


def find_carriers(vault: Vault, objects: Iterable[Object], known: set[_Key]) -> Mapping[_Key, tuple[Run, ...]]:
    """Where the blocks of packs are, by the tables of contents of carriers among these objects. Raises StoreError.

    Packs that are `known` to be somewhere are left out. Of several carriers that hold a block, the newest counts.
    """
    rows: dict[_Key, dict[int, tuple[BlockRow, bytes, int]]] = {}
    newest_last = sorted(objects, key=lambda obj: (obj.modified, obj.id))
    for obj, contents in read_all(vault, newest_last):
        if isinstance(contents, RpdriveError) or not contents.is_carrier:
            continue
        at = HEADER.size
        for pack in contents.packs:
            key = int(obj.kind), pack.pack
            for row in pack.blocks:
                if key not in known:
                    rows.setdefault(key, {})[row.offset] = row, obj.id, at
                at += row.stored
    return {key: tuple(_runs(blocks)) for key, blocks in rows.items()}


def _runs(blocks: Mapping[int, tuple[BlockRow, bytes, int]]) -> Iterator[Run]:
    last: Run | None = None
    for offset in sorted(blocks):
        row, holder, at = blocks[offset]
        run = Run(offset, offset + row.stored, holder, at)
        if last is not None and last.holder == holder and last.end == run.start and last.shift == run.shift:
            last = last._replace(end=run.end)
            continue
        if last is not None:
            yield last
            if run.start < last.end:
                last = None
                continue  # tables that disagree: what overlaps is not used
        last = run
    if last is not None:
        yield last


def rebuilt(
    base: PlacesRecord, moved: Mapping[_Key, tuple[Run, ...]], objects: Iterable[Object], live: Live
) -> PlacesRecord:
    """A record that follows `base`, with packs that were `moved`.

    What the lost record said of dead blocks is not known: what no point refers to is hidden, and its time does not
    run before the next run of upkeep finds it dead.
    """
    carriers = list(base.carriers)
    index = {one: n for n, one in enumerate(carriers)}
    new = []
    for (kind, pack), runs in sorted(moved.items()):
        for run in runs:
            if run.holder not in index:
                index[run.holder] = len(carriers)
                carriers.append(run.holder)
        new.append(MovedRow(pack, kind, [RunRow(index[r.holder], r.start, r.end - r.start, r.at) for r in runs]))
    known = {(row.kind, row.pack) for row in new}
    dead = [*base.dead, *_dead(objects, moved, live, set(carriers), base)]
    kept = [row for row in base.moved if (row.kind, row.pack) not in known]
    return replace(base, dead=dead, carriers=carriers, moved=[*kept, *new])


def _dead(
    objects: Iterable[Object],
    moved: Mapping[_Key, tuple[Run, ...]],
    live: Live,
    carriers: set[bytes],
    base: PlacesRecord,
) -> Iterator[DeadRow]:
    there: dict[_Key, list[Span]] = {
        (int(obj.kind), obj.id): [(HEADER.size, obj.size)] for obj in objects if obj.id not in carriers
    }
    for row in base.moved:
        there[row.kind, row.pack] = [(run.start, run.start + run.length) for run in row.runs]
    for key, runs in moved.items():
        there[key] = [(run.start, run.end) for run in runs]
    for kind in (PackKind.DATA, PackKind.TREE):
        for pack, spans in live.spans(kind):
            held = there.pop((int(kind), pack), None)
            if held is not None and (free := list(_without(held, spans))):
                yield DeadRow(pack, int(kind), None, free)
    for (rest_kind, pack), _held in sorted(there.items()):
        yield DeadRow(pack, rest_kind, None, [])


def _without(held: list[Span], live: list[Span]) -> Iterator[Span]:
    """The parts of spans that are not live."""
    for start, end in held:
        inside = [(max(start, a), min(end, b)) for a, b in live if a < end and start < b]
        for (_a, free), (until, _b) in pairwise([(start, start), *inside, (end, end)]):
            if free < until:
                yield free, until
