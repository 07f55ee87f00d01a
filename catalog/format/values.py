"""The parts of an entry: kinds, pieces, totals, owners, extended attributes."""

from __future__ import annotations

import stat
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from catalog.format.message import MAX_ENTRIES, Count, Whole
from catalog.format.packs import Extent


class NodeKind(IntEnum):
    FILE = 0
    FOLDER = 1
    SYMLINK = 2
    FIFO = 3
    CHAR_DEVICE = 4
    BLOCK_DEVICE = 5
    SOCKET = 6

    @property
    def bits(self) -> int:
        """The type bits in the st_mode of this kind (S_IFMT)."""
        return TYPE_BITS[self]


# Type bits by kind and the reverse, with plain ints as in entries and in st_mode. Code that handles entries by the
# million looks them up here: a method of the class takes twice as long.
TYPE_BITS: dict[int, int] = {
    int(NodeKind.FILE): stat.S_IFREG,
    int(NodeKind.FOLDER): stat.S_IFDIR,
    int(NodeKind.SYMLINK): stat.S_IFLNK,
    int(NodeKind.FIFO): stat.S_IFIFO,
    int(NodeKind.CHAR_DEVICE): stat.S_IFCHR,
    int(NodeKind.BLOCK_DEVICE): stat.S_IFBLK,
    int(NodeKind.SOCKET): stat.S_IFSOCK,
}
KINDS = {bits: kind for kind, bits in TYPE_BITS.items()}


def kind_of(mode: int) -> int:
    """The NodeKind of an st_mode, as a plain int. Raises KeyError for a type that the format does not have."""
    return KINDS[stat.S_IFMT(mode)]


class Hole(NamedTuple):
    """`length` bytes of zeros that occupy no space."""

    length: int


Piece: TypeAlias = Extent | Hole


class Paged(NamedTuple):
    """The pieces of a long file, in pages of their own. `allocated` counts the bytes that are not in holes."""

    level: int
    at: Extent
    allocated: int
    digest: bytes


TOTAL_MAX = 2**64 - 1  # bytes; a larger sum is written as this


class Totals(NamedTuple):
    """Sums over what is below a folder, as on the wire: entries, files, bytes of files, entries with xattrs."""

    entries: Count
    files: Count
    bytes: Whole
    xattrs: Count

    def plus(self, other: Totals) -> Totals:
        """The sums of both. One that the wire has no room for is the largest that it has: three sparse files can
        have more bytes, and the counts of a page that another machine wrote may be anything."""
        entries, files = self.entries + other.entries, self.files + other.files
        size, xattrs = self.bytes + other.bytes, self.xattrs + other.xattrs
        if size > TOTAL_MAX or entries > MAX_ENTRIES or files > MAX_ENTRIES or xattrs > MAX_ENTRIES:
            entries, files, xattrs = (min(n, MAX_ENTRIES) for n in (entries, files, xattrs))
            size = min(size, TOTAL_MAX)
        return Totals(entries, files, size, xattrs)


NOTHING = Totals(0, 0, 0, 0)


class Subtree(NamedTuple):
    """The pages of a folder that is not empty: its top page, that page's level, and the totals below the folder."""

    level: int
    at: Extent
    totals: Totals


class Owner(NamedTuple):
    """Ids and names; a name is empty if the system had none."""

    uid: int
    gid: int
    user: str = ""
    group: str = ""


class OutOfLine(NamedTuple):
    """A value of an extended attribute that is stored as a chunk of its own in a tree block."""

    at: Extent


Xattrs: TypeAlias = dict[bytes, bytes | OutOfLine]


Content: TypeAlias = list[Piece] | Paged | Subtree | bytes | tuple[int, int] | None
