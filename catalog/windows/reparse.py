"""Targets of reparse points that are links, for systems that don't know them. [MS-FSCC] 2.1.2.

A recovery point contains the drive C: as its folder `C`. A target on a drive is expressed relative to the link's
own folder, so that it leads to the same file of the point wherever the point is opened. Errors are OSError, as from
readlink.
"""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

from catalog.format.windows import name_bytes

MOUNT_POINT, SYMLINK, LX_SYMLINK = 0xA0000003, 0xA000000C, 0xA000001D
MOST = 16 << 10  # bytes of a REPARSE_DATA_BUFFER
RELATIVE = 1  # flag of a symbolic link
_HEAD = struct.Struct("<IHxx")  # tag, bytes that follow
_NAMES = struct.Struct("<HHHH")  # offset and length of the substitute name, and of the print name
_LX_VERSION = 2


class LinkTarget(NamedTuple):
    """A link's target, as Windows spells it. `relative`: to the link's folder, or to its drive's root."""

    path: str
    relative: bool


def is_link(tag: int) -> bool:
    """Whether a reparse point with this tag is a link."""
    return tag in (MOUNT_POINT, SYMLINK, LX_SYMLINK)


def tag_of(buffer: bytes) -> int:
    """The tag of a REPARSE_DATA_BUFFER; 0 if it is too short to have one."""
    return int(_HEAD.unpack_from(buffer)[0]) if len(buffer) >= _HEAD.size else 0


def parse(buffer: bytes) -> LinkTarget:
    """The target in the REPARSE_DATA_BUFFER of a symbolic link, junction or mount point. Raises OSError."""
    tag = tag_of(buffer)
    names = _HEAD.size + _NAMES.size + (4 if tag == SYMLINK else 0)
    if tag not in (MOUNT_POINT, SYMLINK) or len(buffer) < names:
        raise _malformed()
    end = _HEAD.size + _HEAD.unpack_from(buffer)[1]
    start, length, _print_start, _print_length = _NAMES.unpack_from(buffer, _HEAD.size)
    start += names
    if length % 2 or start + length > min(end, len(buffer)):
        raise _malformed()
    flags = int.from_bytes(buffer[names - 4 : names], "little") if tag == SYMLINK else 0
    # Some tools count the NUL at the end.
    path = buffer[start : start + length].decode("utf-16-le", "surrogatepass").rstrip("\0")
    return LinkTarget(path, bool(flags & RELATIVE))


def link_target(buffer: bytes, path: str) -> bytes:
    """The target of the link at `path` (`C:\\…` or `\\\\?\\C:\\…`) for other systems. Raises OSError."""
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
    """WSL stores the target unchanged: a version in 4 bytes, then UTF-8."""
    end = _HEAD.size + _HEAD.unpack_from(buffer)[1]
    target = buffer[_HEAD.size + 4 : end]
    if end > len(buffer) or buffer[_HEAD.size : _HEAD.size + 4] != _LX_VERSION.to_bytes(4, "little") or not target:
        raise _malformed()
    if b"\0" in target:
        raise _malformed()
    return target


def _on_drive(path: str) -> list[str]:
    """The parts of a path on a drive, the drive letter first; empty for any other path."""
    for prefix in ("\\??\\", "\\\\?\\"):
        path = path.removeprefix(prefix)
    if path[1:2] != ":" or not path[:1].isascii() or not path[:1].isalpha() or path[2:3] not in ("", "\\"):
        return []
    return [path[0].upper(), *(part for part in path[2:].split("\\") if part)]


def _way(start: list[str], there: list[str]) -> list[str]:
    """The relative path from one folder to a path. Case is ignored, as on Windows."""
    same = 0
    while same < min(len(start), len(there)) and start[same].casefold() == there[same].casefold():
        same += 1
    return [".."] * (len(start) - same) + there[same:] or ["."]


def _joined(parts: list[str]) -> bytes:
    target = name_bytes("/".join(parts))
    if not target or b"\0" in target:
        raise _malformed()
    return target


def _malformed() -> OSError:
    return OSError(errno.EINVAL, "its reparse point is malformed")
