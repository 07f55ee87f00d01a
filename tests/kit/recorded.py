"""What a recovery point holds beside what a source holds, in one form, so that the two can be compared."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from catalog.direct import DirectSource
from catalog.errors import Damaged
from catalog.format.blocks import Buffer, PackKind
from catalog.format.packs import Extent
from catalog.format.pages import Entry, Leaf
from catalog.format.records import Point
from catalog.format.values import NodeKind, OutOfLine, kind_of
from catalog.tree import Pieces, walk
from catalog.vault import Vault


class Seen(NamedTuple):
    """One entry. `content`: digest and length of a file, a symlink's target, a device's numbers."""

    kind: int
    mode: int
    uid: int
    gid: int
    mtime: int
    content: Any
    xattrs: dict[bytes, bytes]


class Snapshot(NamedTuple):
    """Entries by path from a root; and the groups of paths that are links of one file."""

    entries: dict[bytes, Seen]
    links: set[frozenset[bytes]]


def of_source(root: Path, leave_out: Collection[bytes] = ()) -> Snapshot:
    """The entries below a folder, read by plain system calls, without the trees at `leave_out` (relative paths)."""
    entries: dict[bytes, Seen] = {}
    groups: dict[tuple[int, int], set[bytes]] = {}
    pending = [b""]
    while pending:
        folder = pending.pop()
        for name in os.listdir(os.path.join(os.fsencode(root), folder)):
            here = folder + b"/" + name if folder else name
            if here in leave_out:
                continue
            path = os.path.join(os.fsencode(root), here)
            st = os.lstat(path)
            entries[here] = seen(path, st)
            if stat.S_ISDIR(st.st_mode):
                pending.append(here)
            elif st.st_nlink > 1:
                groups.setdefault((st.st_dev, st.st_ino), set()).add(here)
    return Snapshot(entries, {frozenset(g) for g in groups.values()})


def seen(path: bytes, st: os.stat_result) -> Seen:
    """One entry by plain system calls."""
    content: Any = None
    if stat.S_ISREG(st.st_mode):
        with open(path, "rb") as file:  # noqa: PTH123 - bytes
            content = _digest(file)
    elif stat.S_ISLNK(st.st_mode):
        content = os.readlink(path)
    elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        content = (os.major(st.st_rdev), os.minor(st.st_rdev))
    xattrs = {
        os.fsencode(n): os.getxattr(path, n, follow_symlinks=False)
        for n in os.listxattr(path, follow_symlinks=False)
    }
    kind = kind_of(st.st_mode)
    return Seen(kind, st.st_mode & 0o7777, st.st_uid, st.st_gid, st.st_mtime_ns, content, xattrs)


def _digest(file: Any) -> tuple[str, int]:
    digest, length = hashlib.blake2b(digest_size=16), 0
    while part := file.read(1 << 20):
        digest.update(part)
        length += len(part)
    return digest.hexdigest(), length


class PointReader(DirectSource):
    """Reads all of a point: every page, every chunk, each verified. Decoded data blocks are kept, a few."""

    def __init__(self, vault: Vault) -> None:
        super().__init__(vault)
        self.vault = vault
        self._data: dict[tuple[bytes, int], Buffer] = {}

    def data(self, at: Extent) -> bytes:
        return self.vault.with_other_copies(PackKind.DATA, at, self._cut)

    def _cut(self, kind: PackKind, at: Extent) -> bytes:
        place = at.pack, at.offset
        if place not in self._data:
            if len(self._data) > 16:
                self._data.clear()
            self._data[place] = self.vault.open_block(kind, at, self.vault.fetch_block(kind, at))
        raw = bytes(memoryview(self._data[place])[at.inner : at.inner + at.length])
        if len(raw) != at.length or self.vault.keys.chunk_id(raw) != at.id:
            raise Damaged(f"no such chunk at {at}")
        return raw

    def content(self, leaf: Leaf, entry: Entry) -> Any:
        if entry.kind == NodeKind.FILE:
            digest, length = hashlib.blake2b(digest_size=16), 0
            for piece in Pieces(self, leaf.pieces(entry)).all():
                if isinstance(piece, Extent):
                    digest.update(self.data(piece))
                else:
                    for start in range(0, piece.length, 1 << 20):
                        digest.update(bytes(min(1 << 20, piece.length - start)))
                length += piece.length
            assert length == entry.size, entry.name
            return digest.hexdigest(), length
        node = leaf.node(entry)
        return None if entry.kind == NodeKind.FOLDER else node.content

    def snapshot(self, point: Point, root: Path | None = None) -> Snapshot:
        """All of the point below a path (None: all). Damaged, ObjectNotFound if anything can't be read."""
        prefix = os.fsencode(root).strip(b"/") + b"/" if root else b""
        entries: dict[bytes, Seen] = {}
        groups: dict[int, set[bytes]] = {}
        numbers = []
        for path, (entry, leaf, number) in walk(self, point.root.subtree() if point.root else None):
            numbers.append(number)
            content = self.content(leaf, entry)
            xattrs = {
                name: bytes(self.chunk(value.at)) if isinstance(value, OutOfLine) else value
                for name, value in (leaf.xattrs(entry) or {}).items()
            }
            if not path.startswith(prefix):
                continue
            here = path[len(prefix) :]
            owner = leaf.owner(entry)
            entries[here] = Seen(
                entry.kind, entry.mode, owner.uid, owner.gid, entry.mtime, content, xattrs
            )  # fmt: skip
            if entry.link:
                groups.setdefault(entry.link, set()).add(here)
        assert numbers == list(range(2, len(numbers) + 2)), "totals are wrong"
        assert point.totals.entries == len(numbers)
        return Snapshot(entries, {frozenset(g) for g in groups.values()})


def assert_equal(found: Snapshot, wanted: Snapshot) -> None:
    """The two hold the same; says where not."""
    differ = {
        path: (found.entries.get(path), wanted.entries.get(path))
        for path in found.entries.keys() | wanted.entries.keys()
        if found.entries.get(path) != wanted.entries.get(path)
    }
    assert not differ, differ
    assert found.links == wanted.links


def assert_whole(vault: Vault) -> int:
    """Every point in the vault, partial ones too, can be read to the last byte. How many there are."""
    names = vault.point_names(partial=True)
    for name in names:
        PointReader(vault).snapshot(vault.point(name))
    return len(names)
