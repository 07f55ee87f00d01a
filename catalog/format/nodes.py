"""An entry of a folder, independent of any page."""

from __future__ import annotations

from typing import Any

import msgspec

from catalog.format.values import NOTHING, Content, NodeKind, Owner, Subtree, Totals, Xattrs
from catalog.format.windows import Windows


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

    def totals(self) -> Totals:
        """The share of this entry in the totals of its folder."""
        below = self.content.totals if isinstance(self.content, Subtree) else NOTHING
        return own_totals(self.kind, self.size, bool(self.xattrs)).plus(below)


def own_totals(kind: int, size: int, xattrs: bool) -> Totals:
    """The share of an entry in the totals of its folder, without everything below the entry."""
    is_file = kind == NodeKind.FILE
    return Totals(1, int(is_file), size if is_file else 0, int(xattrs))
