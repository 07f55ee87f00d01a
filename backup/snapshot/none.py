"""Live files of a mount, where a snapshot has an empty folder in its place."""

from __future__ import annotations

import os
import re

from backup.snapshot.base import Volume
from backup.snapshot.mounting import folder_below
from catalog.mountinfo import Mount

_MOUNT = re.compile(rb"^mnt_id:\s*([0-9]+)$", re.MULTILINE)


def opened(mount: Mount) -> int:
    """A descriptor of the root folder of a mount. Raises OSError, also if the path leads elsewhere by now."""
    folder = _folder(mount.place)
    with open(f"/proc/self/fdinfo/{folder}", "rb") as told:  # noqa: PTH123 - as the others
        found = _MOUNT.search(told.read())
    if found is None or found[1].decode() != mount.number:
        os.close(folder)
        raise OSError(0, "something else is mounted there by now")
    return folder


def opened_inside(inner: Volume) -> int:
    """A descriptor of the root folder of a file system within another. Raises OSError, as `opened` does."""
    folder = _folder(inner.place)
    if os.fstat(folder).st_dev != inner.device:
        os.close(folder)
        raise OSError(0, "something else is there by now")
    return folder


def _folder(place: bytes) -> int:
    top = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return folder_below(top, place)
    finally:
        os.close(top)
