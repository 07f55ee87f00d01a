"""What the files of a volume need of the file system that they are restored to. No I/O here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from catalog.errors import Damaged
from catalog.format.packs import Extent
from catalog.format.pages import Entry, Leaf
from catalog.format.values import NodeKind, Owner, Paged
from mount.restore.conflict import Action
from mount.restore.folder import Folder

_ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")
_CAPABILITIES = b"security.capability"
_FORBIDDEN = re.compile(rb'[\x00-\x1f"*:<>?\\|]|[. ]\Z')  # in names of FAT, exFAT and NTFS
_UNIFORM = 2  # modes: of all files, and of all folders
_WRITING = (Action.WRITE, Action.REPLACE, Action.COPY)
_FILE, _FOLDER, _SYMLINK = int(NodeKind.FILE), int(NodeKind.FOLDER), int(NodeKind.SYMLINK)


class Largest(NamedTuple):
    """The path of an entry, and a number of it: the size of a file, the length of a name."""

    number: int = 0
    path: bytes = b""


_NONE = Largest()


@dataclass
class Needs:
    """Counts of entries, by what they need. Sizes in bytes; holes count nothing.

    `room` is what has to be written, in whole blocks of `block`, less what a replaced file gives back; while it is
    replaced both are there, so that `largest_replaced` comes on top. `entries` are new ones, each with an inode.
    `permissions`: files differ in owners or modes, which they do not where a file system has none.
    """

    block: int = 1
    room: int = 0
    largest_replaced: int = 0
    entries: int = 0
    symlinks: int = 0
    hard_links: int = 0
    specials: int = 0
    xattrs: int = 0
    acls: int = 0
    permissions: bool = False
    over_4_gib: int = 0
    largest: Largest = _NONE
    longest: Largest = _NONE
    longest_units: Largest = _NONE
    forbidden: int = 0
    forbidden_name: bytes = b""
    twins: int = 0
    twin: bytes = b""
    _owners: set[tuple[bool, int, Owner]] = field(default_factory=set)
    _links: set[int] = field(default_factory=set)

    def named(self, folder: Folder, name: bytes, leaf: Leaf, entry: Entry) -> None:
        """Count what an entry needs whether it is there already or not. Raises Damaged."""
        kind = entry.kind
        if kind == _SYMLINK:
            self.symlinks += 1
        elif kind not in (_FILE, _FOLDER):
            self.specials += 1
        if entry.link:
            if entry.link in self._links:
                self.hard_links += 1
            self._links.add(entry.link)
        if entry.xattrs >= 0:
            found = leaf.xattrs(entry) or {}
            self.acls += any(key in _ACLS for key in found)
            self.xattrs += any(key not in _ACLS for key in found)
        if kind != _SYMLINK and not self.permissions:
            self._owners.add((kind == _FOLDER, entry.mode, leaf.owner(entry)))
            self.permissions = len(self._owners) > _UNIFORM or len({owner for *_, owner in self._owners}) > 1
        if kind == _FILE and entry.size > self.largest.number:
            self.largest = Largest(entry.size, folder.path(name))
        self.over_4_gib += kind == _FILE and entry.size >= 1 << 32
        if len(name) > self.longest.number:
            self.longest = Largest(len(name), folder.path(name))
        if len(name) > self.longest_units.number:
            units = len(name.decode(errors="replace").encode("utf-16-le")) // 2
            if units > self.longest_units.number:
                self.longest_units = Largest(units, folder.path(name))
        if _FORBIDDEN.search(name):
            self.forbidden += 1
            self.forbidden_name = self.forbidden_name or folder.path(name)

    def wrote(self, action: Action, leaf: Leaf, entry: Entry, there: int) -> None:
        """Count the room that a file needs. `there`: bytes of what it replaces."""
        if action not in _WRITING:
            return
        bytes_ = self._blocks(_allocated(leaf, entry))
        if action is Action.REPLACE:
            self.room += max(bytes_ - self._blocks(there), 0)
            self.largest_replaced = max(self.largest_replaced, min(bytes_, self._blocks(there)))
        else:
            self.room += bytes_

    def _blocks(self, length: int) -> int:
        return -(-length // self.block) * self.block


def _allocated(leaf: Leaf, entry: Entry) -> int:
    """The bytes of a file that are no holes."""
    try:
        content = leaf.pieces(entry)
    except Damaged:
        return 0
    if isinstance(content, Paged):
        return min(content.allocated, entry.size)
    return sum(piece.length for piece in content if isinstance(piece, Extent))
