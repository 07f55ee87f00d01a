"""Entries of folders in the kernel's format: attributes and names, encoded once for each page of a tree."""

from __future__ import annotations

import os
import stat
import struct
import sys
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate
from typing import Any

from catalog.errors import Damaged
from catalog.format.values import NodeKind
from mount.drivers.base import BLOCK
from mount.drivers.kernel.protocol import DIRENT, DIRENTPLUS, PADDING, STATX_BASIC_STATS, STATX_BTIME, STATX_OUT
from mount.view.nodes import FOREVER, LINK_BIT, SHORT, Attributes, Folder, Node, shown_ids
from mount.view.point import TreePage

SECOND = 10**9
FIRST_COOKIE = 2  # of `..`; added to the number of an entry in a point, or else to its position in the folder
ENTRY, ATTRIBUTES = slice(0, 128), slice(40, 128)  # in a record: entry_out, and attr in it
MOST_TIME = 1 << 63  # ns; some 292 years from 1970
_MASK = 0xFFFFFFFF
_FILE, _REGULAR = int(NodeKind.FILE), stat.S_IFREG
_FOLDER, _DIRECTORY = int(NodeKind.FOLDER), stat.S_IFDIR
_KEPT = struct.pack(
    "=QQQII", 0, FOREVER, FOREVER, 0, 0
)  # generation, and how long an entry and attributes are valid
_TAIL = struct.Struct("=IIIIIII")  # of the attributes: mode, nlink, uid, gid, rdev, blksize, flags


def record(a: Attributes, name: bytes, cookie: int, entry_seconds: int, attr_seconds: int) -> bytes:
    """An entry of READDIRPLUS; the first 128 bytes answer LOOKUP. Raises struct.error if a number doesn't fit."""
    mtime, mtime_ns = divmod(a.mtime, SECOND)
    ctime, ctime_ns = divmod(a.ctime, SECOND)
    head = DIRENTPLUS.pack(
        a.inode, 0, entry_seconds, attr_seconds, 0, 0,
        a.inode, a.size, a.blocks, mtime, mtime, ctime, mtime_ns, mtime_ns, ctime_ns, a.mode, a.nlink,
        a.uid & _MASK, a.gid & _MASK, device_number(a.rdev) if a.rdev else 0, BLOCK, 0,
        a.inode, cookie, len(name), a.mode >> 12,
    )  # fmt: skip
    return head + name + PADDING[len(name) & 7]


def record_in(folder: Folder, node: Node, name: bytes, cookie: int = 0) -> bytes:
    """The record of an entry that is found by its name: valid for a short time if it or its folder may change."""
    entry = SHORT if node.changes or folder.changes else FOREVER
    return record(node.attributes, name, cookie, entry, SHORT if node.changes else FOREVER)


def statx(a: Attributes, made: int | None, seconds: int) -> bytes:
    """The answer to STATX, valid for `seconds`. `made` is when the original was created (ns, UTC)."""
    mtime, mtime_ns = divmod(a.mtime, SECOND)
    ctime, ctime_ns = divmod(a.ctime, SECOND)
    made_s, made_ns = divmod(made or 0, SECOND)
    return STATX_OUT.pack(
        seconds, 0, 0,
        STATX_BASIC_STATS if made is None else STATX_BASIC_STATS | STATX_BTIME, BLOCK, 0,
        a.nlink, a.uid & _MASK, a.gid & _MASK, a.mode, 0, a.inode, a.size, a.blocks, 0,
        mtime, mtime_ns, made_s, made_ns, ctime, ctime_ns, mtime, mtime_ns,
        os.major(a.rdev), os.minor(a.rdev), 0, 0,
    )  # fmt: skip


def made_at(page: TreePage, n: int) -> int | None:
    """The creation time of an entry's original (ns, UTC); None if its system didn't record it."""
    made = (page.leaf.entries[n].more or {}).get("created")
    return made if isinstance(made, int) and -MOST_TIME <= made <= MOST_TIME else None


def unknown(inode: int, bits: int, name: bytes, cookie: int) -> bytes:
    """An entry without attributes (node id 0): the kernel shows its name, and sends LOOKUP if they are needed."""
    head = bytes(128) + DIRENT.pack(inode, cookie, len(name), bits >> 12)
    return head + name + PADDING[len(name) & 7]


def plain(inode: int, bits: int, name: bytes, cookie: int) -> bytes:
    """An entry of READDIR."""
    return DIRENT.pack(inode, cookie, len(name), bits >> 12) + name + PADDING[len(name) & 7]


def device_number(rdev: int) -> int:
    """A device number encoded as by the kernel's new_encode_dev: 12 bits major, 20 bits minor, in 32."""
    major, minor = os.major(rdev), os.minor(rdev)
    return (minor & 0xFF) | (major & 0xFFF) << 8 | (minor & 0xFFF00) << 12


class Encoded:
    """A page: its records end to end, the start of each, and the node ids (0: no attributes)."""

    __slots__ = ("data", "links", "node_ids", "starts")

    def __init__(self, page: TreePage) -> None:
        records, node_ids = _file_records(page, range(len(page.names)))
        for n, row in enumerate(records):
            if not row:
                records[n] = _record_of_node(page, n)
                node_ids[n] = int.from_bytes(records[n][:8], sys.byteorder)
        self.data = memoryview(b"".join(records))
        self.starts = list(accumulate(map(len, records), initial=0))
        self.node_ids = node_ids
        self.links = [n for n, node_id in enumerate(node_ids) if node_id & LINK_BIT]

    def record(self, n: int) -> memoryview:
        return self.data[self.starts[n] : self.starts[n + 1]]


def tree_record(page: TreePage, n: int) -> bytes:
    """The record of an entry in a point. A malformed entry has only a name; a lookup of it reports the error."""
    return _file_records(page, (n,))[0][0] or _record_of_node(page, n)


def _record_of_node(page: TreePage, n: int) -> bytes:
    number = page.numbers[n]
    try:
        return record(page.node(n).attributes, page.names[n], number + FIRST_COOKIE, FOREVER, FOREVER)
    except (Damaged, struct.error):
        inode, bits = page.kind(n)
        return unknown(inode, bits, page.names[n], number + FIRST_COOKIE)


def _file_records(page: TreePage, places: Sequence[int]) -> tuple[list[bytes], list[int]]:
    """Records of ordinary files and folders, and their node ids; empty for other entries.

    It takes 15% of the time of _record_of_node, and folders consist of such entries.
    """
    leaf, base, narrows = page.leaf, page.tree.base, page.tree.narrows
    entries, numbers = leaf.entries, page.numbers
    owners = [(uid & _MASK, gid & _MASK) for uid, gid in (shown_ids(*owner[:2]) for owner in leaf.owners)]
    known = len(owners)
    tails: dict[tuple[int, int, int], bytes] = {}  # by owner, mode and links
    records, node_ids = [b""] * len(places), [0] * len(places)
    for place, n in enumerate(places):
        e, number = entries[n], numbers[n]
        kind, links, owner = e.kind, e.nlink, e.owner
        if e.link or not 0 <= owner < known or (narrows and e.xattrs >= 0):
            continue
        if kind == _FILE:
            allocated = _allocated(e.content)
            if allocated < 0:
                continue
            bits, blocks = _REGULAR, ((allocated + 4095) >> 12) * 8
        elif kind == _FOLDER and e.more is None and e.xattrs < 0 and _is_listable(page, n):
            bits, blocks, links = _DIRECTORY, (e.size + 511) >> 9, 1
        else:
            continue
        name, mtime, ctime, inode = e.name, e.mtime, e.ctime, base | number
        mode = bits | e.mode & 0o7777
        seconds, changed, length = mtime // SECOND, ctime // SECOND, len(name)
        ns = mtime - seconds * SECOND
        try:
            tail = tails.get((owner, mode, links))
            if tail is None:
                tail = tails[owner, mode, links] = _TAIL.pack(mode, links, *owners[owner], 0, BLOCK, 0)
            records[place] = _packing(length)(
                inode, _KEPT, inode, e.size, blocks, seconds, seconds, changed, ns, ns, ctime - changed * SECOND,
                tail, inode, number + FIRST_COOKIE, length, bits >> 12, name,
            )  # fmt: skip
        except struct.error:
            continue
        node_ids[place] = inode
    return records, node_ids


@cache
def _packing(length: int) -> Callable[..., bytes]:
    """What packs a record with a name of so many bytes: as DIRENTPLUS, with neighbouring fields packed before."""
    return struct.Struct(f"=Q32sQQQqqqIII28sQQII{length + -length % 8}s").pack


def _is_listable(page: TreePage, n: int) -> bool:
    try:
        page.subtree(n)
    except Damaged:
        return False
    return True


def _allocated(content: Any) -> int:
    """Bytes of the extents in a file's entry before it is decoded; -1 if that takes decoding."""
    if type(content) is not list:
        return -1
    if len(content) == 1:  # by far the most common
        row = content[0]
        return row[4] if type(row) is list and len(row) == 6 and type(row[4]) is int else -1
    total = 0
    for row in content:
        if type(row) is not list or len(row) != 6 or type(row[4]) is not int:
            return -1
        total += row[4]
    return total
