"""The interface of views, which show recovery points as a tree of nodes, independent of any driver.

    view.point        PointView      one point: its root is the drive's root
    view.all_points   AllPointsView  all points: <machine>/<item>/<date and time>/…
    view.versions     VersionsFolder `.versions` of an item: each file as a folder of its versions

Drivers (mount.drivers) translate a view for Linux, libfuse and WinFsp; restore reads paths on a drive back
(`View.origin`). They start at the root and go from node to node. Names are bytes, without a `/` in them. Everything
raises the classes of catalog.errors: NotFound for a name that does not exist, Damaged and StoreError for contents
that can't be read. Nodes below a point's root never change; nodes that may are marked by `changes`.
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

# How long the system may keep what a driver answers, in seconds.
FOREVER = 10 * 365 * 86400  # for nodes that never change
SHORT = 3  # for names that may change their meaning: asking again costs a call, never a request to the store
NEGATIVE_SHORT = 1  # for names that don't exist: a new point may bring them
LINK_BIT = 1 << 32  # set in the inode number of a file of several links; its low bits are the link's number
POINT_SHIFT = 33  # in the drive of all points, the bits from here up say which point


class Attributes(NamedTuple):
    """The fields of stat. Sizes in bytes, times in ns since the epoch (UTC), `blocks` of 512 bytes.

    `mode` includes the bits of the type.
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
    """Anything on the drive. `changes`: the same path may mean another node a moment later."""

    __slots__ = ("attributes",)
    changes = False

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes

    def xattr_names(self) -> list[bytes]:
        """Names of the extended attributes."""
        return []

    def xattr(self, name: bytes) -> Buffer | None:
        """The value of an extended attribute; None if there is none of that name."""
        return None

    @property
    def windows(self) -> Windows | None:
        """The metadata of Windows, with its values as bytes; None if the node was made on another system."""
        return None

    def stream(self, name: str) -> OpenFile:
        """Open an alternate data stream, for any number of threads. Raises NotFound."""
        raise no_such(name_bytes(name))


class EntryPage(ABC):
    """Neighbouring entries of a folder. Nodes are made on demand: a listing rarely needs them."""

    __slots__ = ()
    names: Sequence[bytes]

    @abstractmethod
    def kind(self, n: int) -> tuple[int, int]:
        """Inode number and type bits of the n-th entry: all that a plain listing needs."""

    @abstractmethod
    def node(self, n: int) -> Node:
        """The n-th entry with its attributes."""


class Folder(Node, ABC):
    """A folder: a node with entries."""

    __slots__ = ()

    @abstractmethod
    def lookup(self, name: bytes) -> Node:
        """The entry of exactly that name. Raises NotFound."""

    @abstractmethod
    def pages(self) -> Iterator[EntryPage]:
        """All entries, always in the same order."""

    @property
    def made_on(self) -> str:
        """The system that its entries' names are from; empty for names made by a view."""
        return ""

    @property
    def distinct(self) -> bool:
        """Whether the folder is known to have no two names that differ only in case or Unicode form."""
        return False

    def opened(self) -> Folder:
        """The folder with this one's entries, fetched if need be; most often the folder itself."""
        return self


class File(Node, ABC):
    """A regular file."""

    __slots__ = ()

    @abstractmethod
    def open(self) -> OpenFile:
        """Open the file for reading, by any number of threads."""


class Link(Node):
    """A symbolic link; its target is not changed."""

    __slots__ = ()
    target: bytes


class Origin(NamedTuple):
    """The origin of a path on a drive: a recovery point, and a path in it (b"" for the root)."""

    point: Point
    path: bytes


class View(ABC):
    """One drive."""

    root: Folder
    folds: bool  # whether lookups may ignore case on systems that do
    changes: bool  # whether anything in it may change while it is mounted
    has_births: bool  # whether entries may have a time of creation

    @abstractmethod
    def origin(self, path: bytes) -> Origin | None:
        """The origin of a path (of names as nodes have them); None if it holds several points.

        Raises NotFound, Damaged and StoreError. It does not check that the path exists in the point.
        """

    @abstractmethod
    def totals(self) -> Totals:
        """The size of the drive, as of a file system."""

    @abstractmethod
    def narrow(self) -> None:
        """Show modes that keep out whom ACLs keep out. To be called before the first node is read.

        For drives that others may enter, where the system goes by the modes alone.
        """

    def has_xattrs(self) -> bool:
        """Whether any node of the view may have extended attributes."""
        return self.changes or self.totals().xattrs > 0

    def close(self) -> None:  # noqa: B027 - most views hold nothing
        """Stop background work."""


def folder_attributes(inode: int, time: int) -> Attributes:
    """Attributes of a folder without an original: owned by the user who opened the drive, readable by all."""
    return Attributes(inode, stat.S_IFDIR | 0o755, _own("getuid"), _own("getgid"), time, time, 4096, 8)


def shown_ids(uid: int, gid: int) -> tuple[int, int]:
    """Owner and group: those of the user who opened the drive if the source has no such numbers (-1)."""
    return _own("getuid") if uid == -1 else uid, _own("getgid") if gid == -1 else gid


def _own(what: str) -> int:
    return int(getattr(os, what, int)())  # Windows has no such functions


def device_number(major: int, minor: int) -> int:
    """A device number of this system; or of Linux, if this one has no such numbers."""
    makedev = getattr(os, "makedev", None)
    if makedev is not None:
        return int(makedev(major, minor))
    return minor & 0xFF | (major & 0xFFF) << 8 | (minor & 0xFFF00) << 12


def no_such(name: bytes) -> NotFound:
    return NotFound(f"there is no {shown_name(name)} here")


def shown_name(name: bytes) -> str:
    return repr(name.decode(errors="replace"))
