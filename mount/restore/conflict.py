"""What happens where something is already. Pure: nothing here touches a disk."""

from __future__ import annotations

import os
import stat
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from catalog.format.values import KINDS, NodeKind
from catalog.names import is_text
from mount.restore.disk.base import Status

NAME_MAX = 255  # bytes
# What file systems round times to: 100 ns (NTFS), 1 us, 1 s, 2 s (FAT).
_GRAINS = (100, 1_000, 10**9, 2 * 10**9)


class Policy(StrEnum):
    """The user's choice for what is there already."""

    COPY = "copy"
    OVERWRITE = "overwrite"
    SKIP = "skip"
    NEWER = "newer"


class Action(StrEnum):
    """What becomes of one entry."""

    WRITE = "write"  # nothing is there
    REPLACE = "replace"
    COPY = "copy"  # under a name beside it
    KEEP = "keep"  # what is there stays
    SAME = "same"  # it is there already, whole
    REFUSE = "refuse"  # a folder stands where none should, or the other way round


class Existing(NamedTuple):
    """What is at a name. `mtime` in ns; `target` of a symlink; `device` of a device."""

    kind: int
    size: int
    mtime: int
    target: bytes = b""
    device: int = 0

    @classmethod
    def of(cls, st: Status, target: bytes = b"") -> Existing:
        kind = KINDS.get(stat.S_IFMT(st.st_mode), NodeKind.FILE)
        return cls(kind, st.st_size, st.st_mtime_ns, target, st.st_rdev)


def same_time(there: int, wanted: int) -> bool:
    """Whether a file's time (ns) is the wanted one, as far as its file system can keep it."""
    return there == wanted or any(there == wanted // g * g for g in _GRAINS)


def is_same(there: Existing, wanted: Existing) -> bool:
    """Whether the wanted is there already, by what shows without reading it."""
    if there.kind != wanted.kind:
        return False
    if there.kind == NodeKind.FILE:
        return there.size == wanted.size and same_time(there.mtime, wanted.mtime)
    if there.kind == NodeKind.SYMLINK:
        return there.target == wanted.target
    if there.kind in (NodeKind.CHAR_DEVICE, NodeKind.BLOCK_DEVICE):
        return there.device == wanted.device
    return True


def decide(policy: Policy, there: Existing | None, wanted: Existing, *, same: bool | None = None) -> Action:
    """What becomes of an entry. `same` overrules `is_same`, for one who has compared the contents.

    Two folders become one: SAME. Nothing is ever deleted to put a folder in its place, nor a folder for a file.
    """
    if there is None:
        return Action.WRITE
    if is_same(there, wanted) if same is None else same:
        return Action.SAME
    if policy is Policy.COPY:
        return Action.COPY
    if policy is Policy.SKIP:
        return Action.KEEP
    if NodeKind.FOLDER in (there.kind, wanted.kind):
        return Action.REFUSE
    if policy is Policy.NEWER and there.mtime >= wanted.mtime:
        return Action.KEEP
    return Action.REPLACE


def copy_name(name: bytes, point_time: int, number: int = 1) -> bytes:
    """The name of a copy: `report (2026-11-17 08.30).txt`, sorted beside `report.txt`; a number from the second on.

    `point_time` in ns (UTC); shown in local time. No colons, so that Windows can keep it.
    """
    when = datetime.fromtimestamp(point_time // 10**9).strftime("%Y-%m-%d %H.%M")
    mark = f" ({when})".encode() + (f" ({number})".encode() if number > 1 else b"")
    stem, extension = _split(name)
    room = NAME_MAX - len(mark) - len(extension)
    if len(stem) > room:
        stem = stem[:room].decode(errors="ignore").encode() if is_text(stem) else stem[:room]
    return stem + mark + extension


def _split(name: bytes) -> tuple[bytes, bytes]:
    stem, extension = os.path.splitext(name)
    inner, above = os.path.splitext(stem)
    if above == b".tar":
        stem, extension = inner, above + extension
    if len(extension) > 64 or not stem:
        return name, b""
    return stem, extension
