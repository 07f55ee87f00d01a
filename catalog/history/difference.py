"""Differences between two trees, from the trees alone: equal pages are skipped unread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from catalog.errors import RpdriveError
from catalog.format.pages import Entry, Leaf
from catalog.format.records import Point
from catalog.format.values import NodeKind, OutOfLine, Subtree
from catalog.format.windows import Value, Windows, others
from catalog.history.overlay import (
    BatchSource,
    Lost,
    Strand,
    data_id,
    follow,
    root_strands,
    streams_id,
    walk,
)
from catalog.history.variants import Variant

_Comparable: TypeAlias = bytes | tuple[int, bytes] | None  # a value, or length and id of one stored out of line
BEFORE, AFTER = 1, 2  # sets of points: the first tree, the second


class Change(NamedTuple):
    """A path that differs. `what` is `added`, `removed`, or the sorted names of what changed.

    These are `type`, `content` (bytes of a file, target of a symlink, numbers of a device), `mode`, `owner`, `time`
    (mtime), `xattrs`, `links` (the number of hard links of a file); for Windows `streams` (alternate data streams),
    `security` (the descriptor) and `attributes` (with creation time, short name and reparse point); and `more`
    (metadata of other systems).
    """

    path: bytes
    before: Variant | None
    after: Variant | None
    what: tuple[str, ...]

    @property
    def mark(self) -> str:
        """`+` added, `-` removed, `T` another type, `M` other content or streams, `U` other metadata only."""
        for word, mark in (("added", "+"), ("removed", "-"), ("type", "T"), ("content", "M"), ("streams", "M")):
            if word in self.what:
                return mark
        return "U"


def difference(
    source: BatchSource,
    before: Subtree | None,
    after: Subtree | None,
    path: bytes = b"",
    lost: Callable[[bytes, int, RpdriveError], None] | None = None,
) -> Iterator[Change]:
    """The changes from one root to another at a path and below, in walk order. Raises Damaged and StoreError.

    ctime and inode numbers are not compared: they can't be restored. If there is `lost`, it is told of damage, with
    the folder and the trees, before the first name that this could concern; what such a tree lacks may be there.
    """
    told: Lost | None = None if lost is None else lambda trees, e: lost(path, trees, e)
    here, variants, strands = follow(source, _strands(before, after), path, told)
    yield from _changes([(here, variants)])
    yield from _changes(walk(source, strands, here, BEFORE | AFTER, lost))


def root_of(point: Point) -> Subtree | None:
    """A point's root; None if the point is empty. Raises Damaged."""
    return next((strand.folder for strand in root_strands([point])), None)


def exists(source: BatchSource, before: Subtree | None, after: Subtree | None, path: bytes) -> bool:
    """Whether at least one of two trees has the path."""
    here, variants, _below = follow(source, _strands(before, after), path)
    return not here or bool(variants)


def _strands(before: Subtree | None, after: Subtree | None) -> list[Strand]:
    if before is not None and after is not None and before.at.id == after.at.id:
        return [Strand(BEFORE | AFTER, before)]
    trees = (BEFORE, before), (AFTER, after)
    return [Strand(points, tree) for points, tree in trees if tree is not None]


def _changes(steps: Iterable[tuple[bytes, list[Variant]]]) -> Iterator[Change]:
    for path, variants in steps:
        change = _change(path, variants)
        if change is not None:
            yield change


def _change(path: bytes, variants: list[Variant]) -> Change | None:
    before = next((v for v in variants if v.points & BEFORE), None)
    after = next((v for v in variants if v.points & AFTER), None)
    if before is None or after is None:
        if after is not None:
            return Change(path, None, after, ("added",))
        return Change(path, before, None, ("removed",)) if before is not None else None
    what = _changed(before.leaf, before.entry, after.leaf, after.entry)
    return Change(path, before, after, what) if what else None


def _changed(a: Leaf, x: Entry, b: Leaf, y: Entry) -> tuple[str, ...]:
    what = []
    if x.kind != y.kind:
        what.append("type")
    elif x.kind != NodeKind.FOLDER and data_id(a, x) != data_id(b, y):
        what.append("content")
    if x.mode != y.mode:
        what.append("mode")
    if a.owner(x) != b.owner(y):
        what.append("owner")
    if x.mtime != y.mtime:
        what.append("time")
    if _values(a, x) != _values(b, y):
        what.append("xattrs")
    if NodeKind.FOLDER not in (x.kind, y.kind) and x.nlink != y.nlink:
        what.append("links")
    if x.more or y.more:
        what += _foreign(a, x, b, y)
    return tuple(sorted(what))


def _foreign(a: Leaf, x: Entry, b: Leaf, y: Entry) -> list[str]:
    """The names of metadata of other systems that differ. References to tables of the page are resolved first."""
    what = []
    before, after = a.windows(x), b.windows(y)
    if streams_id(a, x) != streams_id(b, y):
        what.append("streams")
    if _security(before) != _security(after):
        what.append("security")
    if _attributes(before) != _attributes(after):
        what.append("attributes")
    if (others(x.more) or {}) != (others(y.more) or {}):
        what.append("more")
    return what


def _security(w: Windows | None) -> _Comparable:
    return _value(w.security) if w is not None else None


def _attributes(w: Windows | None) -> object:
    if w is None:
        return None
    return w.attributes, w.created, _value(w.reparse), _value(w.extended), w.short_name, w.efs


def _values(leaf: Leaf, entry: Entry) -> dict[bytes, _Comparable]:
    """Extended attributes; a value stored out of line is represented by its id, not its location."""
    xattrs = leaf.xattrs(entry) or {}
    return {name: _value(value) for name, value in xattrs.items()}


def _value(value: Value | None) -> _Comparable:
    return (value.at.length, value.at.id) if isinstance(value, OutOfLine) else value
