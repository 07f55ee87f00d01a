"""Decides what happens if something exists where an entry is to be restored. No I/O."""

from __future__ import annotations

import os
import stat
from enum import StrEnum
from typing import NamedTuple

from catalog.format.values import KINDS, NodeKind
from catalog.names import is_text, time_in_name
from mount.restore.disk.base import Status

NAME_MAX = 255  # bytes
# Resolutions of times in file systems: 100 ns (NTFS), 1 us, 1 s, 2 s (FAT).
_GRAINS = (100, 1_000, 10**9, 2 * 10**9)


class Policy(StrEnum):
    """The user's choice for existing files."""

    COPY = "copy"
    OVERWRITE = "overwrite"
    SKIP = "skip"
    NEWER = "newer"


class Action(StrEnum):
    """The decision about one entry."""

    WRITE = "write"  # nothing exists there
    REPLACE = "replace"
    COPY = "copy"  # restore under another name
    KEEP = "keep"  # leave the existing file
    SAME = "same"  # it exists already, complete
    CORRECT = "attributes"  # it exists already, and only its metadata is put back
    REFUSE = "refuse"  # a folder is where another kind of entry belongs, or the reverse


class Existing(NamedTuple):
    """The entry that exists at a name. `mtime` in ns; `target` of a symlink; `device` number of a device."""

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
    """Whether a file's time (ns) is the wanted one, within the resolution of its file system."""
    return there == wanted or any(there == wanted // g * g for g in _GRAINS)


def is_same(there: Existing, wanted: Existing) -> bool:
    """Whether what exists is what is wanted, judged without reading contents."""
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
    """Decide about an entry. `same` overrides `is_same`, after contents have been compared.

    Two folders are merged: SAME. No file is replaced by a folder, and no folder by a file.
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
    """The name of a copy, e.g. `report (2026-11-17 08.30).txt`, which sorts next to `report.txt`.

    `point_time` in ns (UTC), shown in local time without colons, which Windows does not allow in names. A `number`
    above 1 is added to the name.
    """
    when = time_in_name(point_time)
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
