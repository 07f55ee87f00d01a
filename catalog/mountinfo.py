"""The kernel's table of mounts, /proc/self/mountinfo (proc_pid_mountinfo(5)). Reading it touches no mount."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TABLE = Path("/proc/self/mountinfo")
PSEUDO = {  # types of file systems that hold no files of their own, and of rpdrive's drives
    "proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "securityfs", "debugfs", "tracefs", "bpf", "pstore",
    "efivarfs", "configfs", "fusectl", "mqueue", "hugetlbfs", "binfmt_misc", "autofs", "rpc_pipefs", "nsfs",
    "fuse.rpdrive",
}  # fmt: skip
_ESCAPED = re.compile(rb"\\([0-7]{3})")  # space, tab, newline and backslash


class Mount(NamedTuple):
    """A line of the table of mounts."""

    device: str  # number, e.g. "0:51"
    place: bytes  # the mount point
    place_as_written: bytes  # the mount point as the table spells it, with escapes
    file_system: str  # type, e.g. "ext4" or "fuse.rpdrive"
    number: str = ""  # of the mount, e.g. "28"
    above: str = ""  # number of the mount that it is mounted on
    root: bytes = b""  # the path within the file system that is mounted here, e.g. "/" or "/@home"
    source: bytes = b""  # the device, dataset or share
    options: str = ""  # of the mount, e.g. "rw,nosuid"
    super_options: str = ""  # of the file system, for all its mounts


def parse(table: bytes) -> Iterator[Mount]:
    """The mounts, in the table's order; lines of another form are left out."""
    for line in table.split(b"\n"):
        left, _, right = line.partition(b" - ")
        fields = left.split(b" ")
        if len(fields) > 4 and right:
            kind, source, supers, *_ = *right.split(b" "), b"", b""
            number, above, device, options = (
                field.decode(errors="replace") for field in (*fields[:3], fields[5] if len(fields) > 5 else b"")
            )
            yield Mount(
                device, unescape(fields[4]), fields[4], kind.decode(errors="replace"), number, above,
                unescape(fields[3]), unescape(source), options, supers.decode(errors="replace"),
            )  # fmt: skip


def is_within(path: bytes, folder: bytes) -> bool:
    """Whether a path is a folder, or below it. Both are absolute, without symlinks and `..`."""
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def mounts() -> list[Mount]:
    """This process's mounts, a later one on top of an earlier one. Raises OSError where there is no table."""
    return list(parse(TABLE.read_bytes()))


def mounted_at(place: bytes) -> Mount | None:
    """The topmost mount at exactly this path (absolute, no symlinks). Raises OSError where there is no table."""
    return next((mount for mount in reversed(mounts()) if mount.place == place), None)


def unescape(field: bytes) -> bytes:
    """A field with its octal escapes undone, each once: `\\134040` is a backslash and `040`."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), field) if b"\\" in field else field


def mount_of(path: bytes) -> Mount | None:
    """The mount that a path (absolute, no symlinks) is on. None where there is no table."""
    try:
        table = mounts()
    except OSError:
        return None
    found = None
    for mount in table:  # of several at one place, the last one is on top
        is_above = is_within(path, mount.place)
        if is_above and (found is None or len(mount.place) >= len(found.place)):
            found = mount
    return found
