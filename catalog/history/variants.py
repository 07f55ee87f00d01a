"""Entries of many points under one name, merged where they are alike.

Pages of neighbouring points differ in an entry or two. To keep all of them decoded takes some 100 KB a page; what
is kept here is one entry for all points that have it alike, so memory grows with what differs and is shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from catalog.format.pages import Entry, Leaf
from catalog.format.values import NodeKind

_encode = msgspec.msgpack.Encoder().encode
_FILE, _FOLDER = int(NodeKind.FILE), int(NodeKind.FOLDER)
_BY_INDEX = ("security", "reparse", "extended")  # keys of `more` that refer to a set of the page


class Variant(NamedTuple):
    """An entry as the points of the set `points` have it, and its page, of which only the tables may be left."""

    points: int
    leaf: Leaf
    entry: Entry


class Merged:
    """Variants by name. Entries that are alike are one, whatever page they are from."""

    def __init__(self) -> None:
        self._found: dict[bytes, dict[bytes, Variant]] = {}
        self._parts: dict[Any, Any] = {}  # parts of tables that pages share: each is kept once

    def add(self, points: int, leaf: Leaf, entries: Iterable[Entry]) -> list[bytes]:
        """Add entries of a page that these points have. Returns the names that are new here."""
        tables = self._shared(leaf)
        found = self._found
        new: list[bytes] = []
        for entry in entries:
            key = likeness(leaf, entry)
            variants = found.get(entry.name)
            if variants is None:
                found[entry.name] = {key: Variant(points, tables, entry)}
                new.append(entry.name)
                continue
            known = variants.get(key)
            variants[key] = (
                known._replace(points=known.points | points) if known else Variant(points, tables, entry)
            )
        return new

    def pop(self, name: bytes) -> list[Variant]:
        """The variants of a name, which is dropped."""
        return list(self._found.pop(name, {}).values())

    def _shared(self, leaf: Leaf) -> Leaf:
        parts = self._parts
        packs = [parts.setdefault(pack, pack) for pack in leaf.packs]
        owners = [parts.setdefault(owner, owner) for owner in leaf.owners]
        return Leaf(packs, owners, leaf.sets, [], leaf.home)


def without_entries(leaf: Leaf) -> Leaf:
    """The tables of a page alone: all that its entries need."""
    return Leaf(leaf.packs, leaf.owners, leaf.sets, [], leaf.home)


def likeness(leaf: Leaf, entry: Entry) -> bytes:
    """A digest of all that is shown or compared of an entry: equal for entries that are alike.

    Places of chunks do not count, nor do numbers that mean something in one point only (`inode`, `link`). A
    malformed entry is like no other: whoever shows it reports the error.
    """
    e = entry
    try:
        parts = (
            e.kind, e.mode, leaf.owners[e.owner] if e.owner >= 0 else e.owner, e.size, e.mtime, e.ctime, e.nlink,
            _content(e.kind, e.content), _values(leaf, e.xattrs), _more(leaf, e.more) if e.more else None,
        )  # fmt: skip
        return hashlib.blake2b(_encode(parts), digest_size=16).digest()
    except (TypeError, ValueError, LookupError, OverflowError, msgspec.MsgspecError):
        return b"%d" % id(entry)


def _content(kind: int, content: Any) -> Any:
    if kind == _FILE:
        return _pieces(content)
    if kind == _FOLDER and content is not None:
        level, at, _totals = content
        return level, at[5]
    return content


def _pieces(content: Any) -> Any:
    """The lengths and ids of pieces on the wire, without their places."""
    if isinstance(content, dict):
        return content["n"], content["d"]
    return [row[4:6] if len(row) == 6 else row for row in content]


def _values(leaf: Leaf, index: int) -> Any:
    if index < 0:
        return None
    return [(name, value if isinstance(value, bytes) else value[4:6]) for name, value in leaf.sets[index]]


def _more(leaf: Leaf, more: dict[str, Any]) -> Any:
    resolved: dict[str, Any] = dict(sorted(more.items()))
    for key in _BY_INDEX:
        index = resolved.get(key)
        if index is not None:
            resolved[key] = _values(leaf, index)
    streams: Sequence[Any] | None = resolved.get("streams")
    if streams:
        resolved["streams"] = [(name, size, _pieces(content)) for name, size, content in streams]
    return resolved
