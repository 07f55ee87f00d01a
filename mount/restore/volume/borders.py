"""Where other file systems are mounted below the target of a restore: no restore of a volume goes beyond."""

from __future__ import annotations

import os
from collections.abc import Iterable

from mount.restore.folder import Folder


class Borders:
    """The mount points below a folder. `places` are all those of the system, as absolute paths without links."""

    def __init__(self, top: bytes, places: Iterable[bytes] = ()) -> None:
        above = os.path.realpath(top).rstrip(b"/") + b"/"
        self._below = {
            place[len(above) :] for place in places if place.startswith(above) and len(place) > len(above)
        }
        self._names = {place.rpartition(b"/")[2] for place in self._below}

    def is_border(self, folder: Folder, name: bytes) -> bool:
        """Whether another file system is mounted at a name in a folder of the target."""
        return name in self._names and folder.path(name) in self._below

    def is_border_path(self, path: bytes) -> bool:
        """As `is_border`, for a path from the target's top."""
        return path in self._below
