"""What the drive shows, free of any driver: nodes, lookups, pages of entries, contents, xattrs.

A driver asks the view for its root and goes on from node to node. Names are bytes, without a `/` in them.
Everything raises `catalog.errors` classes: NotFound for a name that isn't there, Damaged and StoreError for
what can't be read. Nodes below a point's root never change; those that may are marked by `changes`.
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cache.openfile import OpenFile
from catalog.errors import NotFound
from catalog.format.blocks import Buffer
from catalog.format.records import Point
from catalog.format.values import Totals
from catalog.format.windows import Windows, name_bytes

# How long a driver may let the system keep what the view says, in seconds. What never changes: for as long as the
# drive is mounted. Names that may come to mean something else: asking again costs a call, never a request to the
# store. Names that are not there: a new point may bring them.
FOREVER = 10 * 365 * 86400
SHORT = 3
NEGATIVE_SHORT = 1
LINK_BIT = 1 << 32  # set in the inode number of a file of several links; its low bits are the link's number
POINT_SHIFT = 33  # in the drive of all points, the bits from here up say which point


class Attributes(NamedTuple):
    """What stat shows. Sizes in bytes, times in ns since the epoch (UTC), `blocks` of 512 bytes.

    `mode` has the type's bits.
    """

    inode: int
    mode: int
    uid: int
    gid: int
    mtime: int
    ctime: int
    size: int = 0
    blocks: int = 0
    nlink: int = 1
    rdev: int = 0


class Node:
    """Anything the drive shows. `changes`: the same path may mean something else a moment later."""

    __slots__ = ("attributes",)
    changes = False

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes

    def xattr_names(self) -> list[bytes]:
        return []

    def xattr(self, name: bytes) -> Buffer | None:
        """A value; None if there is no such attribute."""
        return None

    @property
    def windows(self) -> Windows | None:
        """What Windows knew of it, its values as bytes; None if another system made it."""
        return None

    def stream(self, name: str) -> OpenFile:
        """An alternate data stream for reading, by any number of threads. NotFound."""
        raise no_such(name_bytes(name))


class EntryPage(ABC):
    """Neighbouring entries of a folder. Nodes are made only when asked for: a listing rarely needs them."""

    __slots__ = ()
    names: Sequence[bytes]

    @abstractmethod
    def kind(self, n: int) -> tuple[int, int]:
        """Inode number and type bits of the n-th entry: what a plain listing shows."""

    @abstractmethod
    def node(self, n: int) -> Node:
        """The n-th entry with its attributes."""


class Folder(Node, ABC):
    """A node with entries."""

    __slots__ = ()

    @abstractmethod
    def lookup(self, name: bytes) -> Node:
        """The entry of that exact name. NotFound."""

    @abstractmethod
    def pages(self) -> Iterator[EntryPage]:
        """All entries, in an order that stays the same."""

    @property
    def made_on(self) -> str:
        """The system whose names its entries have; empty for names of our own making."""
        return ""

    @property
    def distinct(self) -> bool:
        """Whether no two names in it are known to differ in case or in Unicode's form only."""
        return False

    def opened(self) -> Folder:
        """The folder with the same entries that lies behind this one, fetched if need be; most often itself."""
        return self


class File(Node, ABC):
    """A regular file."""

    __slots__ = ()

    @abstractmethod
    def open(self) -> OpenFile:
        """For reading, by any number of threads."""


class Link(Node):
    """A symbolic link, shown as it is."""

    __slots__ = ()
    target: bytes


class Origin(NamedTuple):
    """Where something on the drive comes from: a path (b"" for the root) in a recovery point."""

    point: Point
    path: bytes


class View(ABC):
    """One drive."""

    root: Folder
    folds: bool  # whether names of different case may be taken for one
    changes: bool  # whether anything in it may change while it is mounted
    has_births: bool  # whether entries may know when their originals were made

    @abstractmethod
    def origin(self, path: bytes) -> Origin | None:
        """What a path from the root, by the names that nodes have, was made of. None if that is several points.

        Raises NotFound, Damaged and StoreError. Whether there is such a path in the point is not checked.
        """

    @abstractmethod
    def totals(self) -> Totals:
        """What the drive holds, as the size of its file system."""

    def has_xattrs(self) -> bool:
        """Whether anything in it may have extended attributes."""
        return self.changes or self.totals().xattrs > 0

    def close(self) -> None:  # noqa: B027 - most views hold nothing
        """Stop what goes on in the background."""


def folder_attributes(inode: int, time: int) -> Attributes:
    """Of a folder that no source has: owned by whoever opened the drive, readable by all who may enter it."""
    return Attributes(inode, stat.S_IFDIR | 0o755, _own("getuid"), _own("getgid"), time, time, 4096, 8)


def shown_ids(uid: int, gid: int) -> tuple[int, int]:
    """Owner and group: those of whoever opened the drive, where the source has no such numbers (-1)."""
    return _own("getuid") if uid == -1 else uid, _own("getgid") if gid == -1 else gid


def _own(what: str) -> int:
    return int(getattr(os, what, int)())  # Windows has no such numbers


def device_number(major: int, minor: int) -> int:
    """As this system has it; as Linux has it, where this one has no devices of that kind."""
    makedev = getattr(os, "makedev", None)
    if makedev is not None:
        return int(makedev(major, minor))
    return minor & 0xFF | (major & 0xFFF) << 8 | (minor & 0xFFF00) << 12


def no_such(name: bytes) -> NotFound:
    return NotFound(f"there is no {shown_name(name)} here")


def shown_name(name: bytes) -> str:
    return repr(name.decode(errors="replace"))
