"""Reparse points that are links: where they lead, for systems that don't know them. [MS-FSCC] 2.1.2.

A point holds the drive C: as its folder `C`. What leads to a path of a drive is told as the way there from the
link's own folder, so that it leads to the same file of the point wherever that is opened. Errors are OSError, as
those of readlink.
"""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

from catalog.format.windows import name_bytes

MOUNT_POINT, SYMLINK, LX_SYMLINK = 0xA0000003, 0xA000000C, 0xA000001D
MOST = 16 << 10  # bytes of a buffer
RELATIVE = 1  # of a symbolic link's flags
_HEAD = struct.Struct("<IHxx")  # tag, bytes that follow
_NAMES = struct.Struct("<HHHH")  # offset and length of the substitute name, and of the print name
_LX_VERSION = 2


class Link(NamedTuple):
    """Where a link leads, as Windows spells it. `relative`: from its own folder, or from its drive's root."""

    path: str
    relative: bool


def is_link(tag: int) -> bool:
    """Whether a reparse point of this tag stands for another path."""
    return tag in (MOUNT_POINT, SYMLINK, LX_SYMLINK)


def tag_of(buffer: bytes) -> int:
    """The tag of a REPARSE_DATA_BUFFER; 0 if it is too short to have one."""
    return int(_HEAD.unpack_from(buffer)[0]) if len(buffer) >= _HEAD.size else 0


def parse(buffer: bytes) -> Link:
    """Where the REPARSE_DATA_BUFFER of a symbolic link, a junction or a mount point leads. OSError."""
    tag = tag_of(buffer)
    names = _HEAD.size + _NAMES.size + (4 if tag == SYMLINK else 0)
    if tag not in (MOUNT_POINT, SYMLINK) or len(buffer) < names:
        raise _not_understood()
    end = _HEAD.size + _HEAD.unpack_from(buffer)[1]
    start, length, _print_start, _print_length = _NAMES.unpack_from(buffer, _HEAD.size)
    start += names
    if length % 2 or start + length > min(end, len(buffer)):
        raise _not_understood()
    flags = int.from_bytes(buffer[names - 4 : names], "little") if tag == SYMLINK else 0
    # Some tools count the NUL at the end.
    path = buffer[start : start + length].decode("utf-16-le", "surrogatepass").rstrip("\0")
    return Link(path, bool(flags & RELATIVE))


def link_target(buffer: bytes, path: str) -> bytes:
    """The target of a link for other systems; `path` is the link's own, as `C:\\…` or `\\\\?\\C:\\…`. OSError."""
    if tag_of(buffer) == LX_SYMLINK:
        return _lx_target(buffer)
    link = parse(buffer)
    to = link.path
    own = _on_drive(path)
    if link.relative:
        if not to.startswith("\\"):
            return _joined(to.split("\\"))
        to = f"{own[0]}:{to}" if own else to
    there = _on_drive(to)
    if there and own:
        return _joined(_way(own[:-1], there))
    plain = to.removeprefix("\\??\\")
    unc = plain[:4].upper() == "UNC\\"
    return _joined(("\\\\" + plain[4:] if unc else to).split("\\"))


def _lx_target(buffer: bytes) -> bytes:
    """WSL keeps the target as it is: a version in 4 bytes, then UTF-8."""
    end = _HEAD.size + _HEAD.unpack_from(buffer)[1]
    target = buffer[_HEAD.size + 4 : end]
    if end > len(buffer) or buffer[_HEAD.size : _HEAD.size + 4] != _LX_VERSION.to_bytes(4, "little") or not target:
        raise _not_understood()
    if b"\0" in target:
        raise _not_understood()
    return target


def _on_drive(path: str) -> list[str]:
    """The folders of a path on a drive, the drive's letter first; empty for any other path."""
    for prefix in ("\\??\\", "\\\\?\\"):
        path = path.removeprefix(prefix)
    if path[1:2] != ":" or not path[:1].isascii() or not path[:1].isalpha() or path[2:3] not in ("", "\\"):
        return []
    return [path[0].upper(), *(part for part in path[2:].split("\\") if part)]


def _way(start: list[str], there: list[str]) -> list[str]:
    """From one folder to a path. Windows doesn't care for case: what is the same but for that is the same."""
    same = 0
    while same < min(len(start), len(there)) and start[same].casefold() == there[same].casefold():
        same += 1
    return [".."] * (len(start) - same) + there[same:] or ["."]


def _joined(parts: list[str]) -> bytes:
    target = name_bytes("/".join(parts))
    if not target or b"\0" in target:
        raise _not_understood()
    return target


def _not_understood() -> OSError:
    return OSError(errno.EINVAL, "its reparse point can't be understood")
