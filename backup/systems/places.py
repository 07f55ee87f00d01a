"""Folders that a walk takes instead of those that are there: snapshots, and folders that rpdrive made.

A tree by names, from the top of all paths. Where the walk meets a name that has a place with a handle, it takes the
status, the metadata and the contents of that folder, whatever is there otherwise. So a folder inside a snapshot on
which another file system is mounted leads to that one's own snapshot, and not to the empty folder beneath.
"""

from __future__ import annotations

from typing import Generic

import msgspec

from backup.systems.base import Folder


class Place(msgspec.Struct, Generic[Folder]):
    """What stands for a folder. `handle` is an open folder, or None where only places `below` stand for others.

    The handle stays open and belongs to whoever made the place.
    """

    handle: Folder | None = None
    below: dict[bytes, Place[Folder]] = msgspec.field(default_factory=dict)

    def at(self, path: bytes) -> Place[Folder]:
        """The place of an absolute path below this one, made where there is none yet."""
        place = self
        for name in path.split(b"/"):
            if name:
                place = place.below.setdefault(name, Place[Folder]())
        return place
