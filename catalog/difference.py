"""What differs between two trees, from the trees alone: equal pages are passed over unread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from catalog.format.packs import Extent
from catalog.format.records import Point
from catalog.format.trees import Entry, Leaf, NodeKind, OutOfLine, Subtree
from catalog.history import (
    Overlay,
    ReadySource,
    Strand,
    Variant,
    content_id,
    folder_strands,
    lookup,
    root_strands,
)
from catalog.versions import parts

BEFORE, AFTER = 1, 2  # sets of points: the first tree, the second


class Change(NamedTuple):
    """A path that differs. `what` is `added`, `removed`, or a sorted list of what changed.

    Of that: `type`, `content` (bytes of a file, target of a symlink, numbers of a device), `mode`, `owner`, `time`
    (mtime), `xattrs`, `links` (the number of hard links of a file), `more` (what other systems know).
    """

    path: bytes
    before: Variant | None
    after: Variant | None
    what: tuple[str, ...]

    @property
    def mark(self) -> str:
        """`+` added, `-` removed, `T` another type, `M` other content, `U` other metadata only."""
        for word, mark in (("added", "+"), ("removed", "-"), ("type", "T"), ("content", "M")):
            if word in self.what:
                return mark
        return "U"


def difference(
    source: ReadySource, before: Subtree | None, after: Subtree | None, path: bytes = b""
) -> Iterator[Change]:
    """The changes from one root to another at a path and below, in walk order. Damaged, StoreError.

    ctime and inode numbers are not compared: they can't be restored.
    """
    strands = _strands(before, after)
    names = parts(path)
    if not names:
        yield from _below(source, strands, b"")
        return
    variants: list[Variant] = []
    for name in names:
        variants = lookup(source, strands, name)
        strands = folder_strands(variants)
    here = b"/" + b"/".join(names)
    change = _change(here, variants)
    if change is not None:
        yield change
    yield from _below(source, strands, here)


def root_of(point: Point) -> Subtree | None:
    """A point's root; None if nothing is in it. Damaged."""
    return next((strand.folder for strand in root_strands([point])), None)


def exists(source: ReadySource, before: Subtree | None, after: Subtree | None, path: bytes) -> bool:
    """Whether any of two trees has that path."""
    strands, variants = _strands(before, after), None
    for name in parts(path):
        variants = lookup(source, strands, name)
        strands = folder_strands(variants)
    return variants is None or bool(variants)


def _strands(before: Subtree | None, after: Subtree | None) -> list[Strand]:
    if before is not None and after is not None and before.at.id == after.at.id:
        return [Strand(BEFORE | AFTER, before)]
    trees = (BEFORE, before), (AFTER, after)
    return [Strand(points, tree) for points, tree in trees if tree is not None]


def _below(source: ReadySource, strands: Sequence[Strand], path: bytes) -> Iterator[Change]:
    stack = [(path, iter(Overlay(source, strands, skip=BEFORE | AFTER)))]
    while stack:
        above, rest = stack[-1]
        step = next(rest, None)
        if step is None:
            stack.pop()
            continue
        name, variants = step
        here = above + b"/" + name
        change = _change(here, variants)
        if change is not None:
            yield change
        below = folder_strands(variants)
        if below:
            stack.append((here, iter(Overlay(source, below, skip=BEFORE | AFTER))))


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
    elif x.kind != NodeKind.FOLDER and content_id(a, x) != content_id(b, y):
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
    if (x.more or {}) != (y.more or {}):
        what.append("more")
    return tuple(sorted(what))


def _values(leaf: Leaf, entry: Entry) -> dict[bytes, Any]:
    """Extended attributes; one that stands out of line by its id, wherever that is."""
    xattrs = leaf.xattrs(entry) or {}
    return {name: _plain(value.at) if isinstance(value, OutOfLine) else value for name, value in xattrs.items()}


def _plain(at: Extent) -> tuple[int, bytes]:
    return at.length, at.id
