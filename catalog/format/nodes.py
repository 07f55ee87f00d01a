"""An entry of a folder, independent of any page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from catalog.format.values import NOTHING, Content, NodeKind, Owner, Subtree, Totals, Xattrs
from catalog.format.windows import Windows

_FILE = int(NodeKind.FILE)  # a plain int compares in half the time


class Node(msgspec.Struct, gc=False):
    """One entry of a folder. Times in ns since the epoch (UTC); `mode` without the type bits.

    `content` depends on the kind: a file's pieces (or where they are), a folder's Subtree (None if empty), a
    symlink's target, a device's (major, minor). `inode` is the source's. `link` is a number that the names of a
    file with several hard links share within an item, and 0 for other files. `windows` holds metadata that only
    Windows has, `more` what other systems and later versions add.
    """

    name: bytes
    kind: int
    mode: int
    owner: Owner
    size: int
    mtime: int
    ctime: int
    inode: int
    nlink: int = 1
    link: int = 0
    content: Content = None
    xattrs: Xattrs | None = None
    more: dict[str, Any] | None = None
    windows: Windows | None = None


def totals(nodes: Sequence[Node]) -> Totals:
    """The sums over the entries of a folder and everything below them."""
    files = size = xattrs = 0
    below = NOTHING
    for node in nodes:
        if node.kind == _FILE:
            files += 1
            size += node.size
        if node.xattrs:
            xattrs += 1
        if type(node.content) is Subtree:
            below = below.plus(node.content.totals)
    return below.plus(Totals(len(nodes), files, size, xattrs))
