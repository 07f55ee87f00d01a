"""Entries that a walk makes: checked before they are written, and the words for one that can't be saved."""

from __future__ import annotations

import sqlite3

from catalog.errors import RpdriveError
from catalog.format.nodes import Node
from catalog.format.packs import Extent
from catalog.format.values import Subtree

OWN = (RpdriveError, sqlite3.Error, MemoryError)  # not the fault of one entry: they end the run
_BITS_32, _BITS_63, _BITS_64 = 2**32 - 1, 2**63 - 1, 2**64 - 1


def cause(error: Exception) -> str:
    """What went wrong, in words for people."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"


def no_status(error: Exception, *, must_be: bool) -> str:
    """Why a name without a status can't be saved; empty if it is merely gone. Raises an error that ends the run."""
    if isinstance(error, OWN):
        raise error
    if not isinstance(error, FileNotFoundError):
        return f"it can't be read: {cause(error)}"
    return "it does not exist" if must_be else ""


def checked(node: Node) -> Node:
    """The node itself. Raises OverflowError for a number that no page holds: it would cost the whole page."""
    if not (0 <= node.size <= _BITS_63 and 0 <= node.inode <= _BITS_64 and 0 <= node.nlink <= _BITS_32):
        raise OverflowError("its size, inode or number of links is out of range")
    return node


def copied(n: Node, *, name: bytes | None = None, content: Subtree | None = None) -> Node:
    """A copy of a node with another name, or of a folder's node with another content."""
    return Node(
        n.name if name is None else name, n.kind, n.mode, n.owner, n.size, n.mtime, n.ctime, n.inode, n.nlink,
        n.link, n.content if name is not None else content, n.xattrs, n.more, n.windows,
    )  # fmt: skip


def no_page(page: bytes) -> Extent:
    """In place of what writes pages, for a dry run."""
    raise AssertionError("a dry run writes nothing")
