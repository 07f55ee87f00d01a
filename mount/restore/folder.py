"""A folder of the target, and what shows that a name still leads to it."""

from __future__ import annotations

from typing import NamedTuple

from mount.restore.disk.attributes import Attributes
from mount.restore.disk.base import Status


class Identity(NamedTuple):
    """Which file or folder a name led to."""

    device: int
    inode: int

    @classmethod
    def of(cls, st: Status) -> Identity:
        return cls(st.st_dev, st.st_ino)


class Folder:
    """A folder of the target. `attributes` are set at the end of the restore; None leaves the folder unchanged.

    `exists`: it is on the disk. `fresh`: this run made it, so it holds only what this run put there. `plain`: new
    files in it get this process's group and inherit no ACL. `identity`: of the folder that this run made or met.
    """

    __slots__ = ("attributes", "exists", "fresh", "identity", "leftovers", "name", "number", "parent", "plain")

    def __init__(self, number: int, parent: Folder | None, name: bytes) -> None:
        self.number = number
        self.parent = parent
        self.name = name
        self.attributes: Attributes | None = None
        self.exists = False
        self.fresh = False
        self.plain = False
        self.identity: Identity | None = None
        self.leftovers: list[bytes] | None = None

    def path(self, name: bytes = b"") -> bytes:
        """The path of the folder, or of a name in it, from the target's top."""
        parts = [name] if name else []
        at: Folder | None = self
        while at is not None and at.parent is not None:
            parts.append(at.name)
            at = at.parent
        return b"/".join(reversed(parts))
