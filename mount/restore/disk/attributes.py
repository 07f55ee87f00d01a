"""The metadata of one entry, on its way from a recovery point to a file."""

from __future__ import annotations

from typing import NamedTuple

from catalog.format.values import Owner, Xattrs
from catalog.format.windows import Windows


class Attributes(NamedTuple):
    """Metadata of an entry. `mtime` in ns since the epoch (UTC); `mode` holds permission bits only.

    `incomplete`: the entry has metadata of another system that this one can't store.
    `windows`: Windows metadata, for a target that can store it.
    """

    kind: int
    mode: int
    owner: Owner
    mtime: int
    xattrs: Xattrs | None
    incomplete: bool = False
    windows: Windows | None = None
