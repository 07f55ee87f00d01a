"""Level 1: all pages of trees, each read and verified once, and compared with what refers to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from catalog.check.finding import Finding, What
from catalog.check.ground import Ground
from catalog.format.blocks import PackKind
from catalog.format.packs import pack_name, pack_named
from catalog.mark.faults import Bad, Fault, FaultKind, Place
from catalog.mark.run import Marked, mark
from catalog.screen.phases import Follower

LEVEL = 1
_KINDS = {
    FaultKind.PAGE: What.PAGE,
    FaultKind.VALUE: What.PAGE,
    FaultKind.ENTRY: What.TREE,
    FaultKind.STRANGER: What.TREE,
    FaultKind.TREE: What.TREE,
}


def read_trees(
    ground: Ground, follow: Follower, blocks: Mapping[tuple[bytes, int], Bad] = MappingProxyType({})
) -> Marked:
    """Read all pages, and find the files whose content can't be where the listings say. Raises StoreError.

    `blocks` are blocks of data packs that are known to be bad, by pack and offset.
    """

    def is_bad(kind: PackKind, pack: bytes, start: int, end: int) -> Bad | None:
        absent = ground.presence.absence(kind, pack, start, end)
        if absent is not None:
            return Bad(absent.object, absent.reason, Place(kind, pack), absent.short)
        return blocks.get((pack, start)) if kind is PackKind.DATA else None

    return mark(
        ground.vault, ground.roots, machines=ground.machines, places=ground.places, is_bad=is_bad, follow=follow
    )


def tree_findings(ground: Ground, marked: Marked) -> Iterator[Finding]:
    """What reading the trees has found, with points and paths."""
    for fault in marked.faults:
        if fault.kind is FaultKind.POINT:
            continue  # level 0 has them
        if fault.kind is FaultKind.CONTENT and fault.at.stored:
            continue  # a block that is known to be bad: whoever knows it tells of it
        yield _absent(ground, fault) or _finding(fault)


def _finding(fault: Fault) -> Finding:
    at = fault.at
    return Finding(
        LEVEL, _KINDS[fault.kind], fault.object or pack_name(at.kind, at.pack), fault.reason, *at,
        points=fault.points, path=fault.path, acknowledged=fault.acknowledged,
    )  # fmt: skip


def _absent(ground: Ground, fault: Fault) -> Finding | None:
    """The fault as one of a missing or short object, if that is why."""
    at, name, reason = fault.at, fault.object, fault.reason
    short = fault.kind is FaultKind.SHORT
    if fault.kind in (FaultKind.PAGE, FaultKind.VALUE):
        absent = ground.presence.absence(at.kind, at.pack, at.offset, at.offset + at.stored)
        if absent is None:
            return None
        name, reason, short = absent
    elif fault.kind not in (FaultKind.CONTENT, FaultKind.SHORT):
        return None
    return Finding(
        0, What.SHORT if short else What.MISSING, name, reason, at.kind, pack_named(name) or at.pack,
        points=fault.points, path=fault.path, acknowledged=fault.acknowledged,
    )  # fmt: skip
