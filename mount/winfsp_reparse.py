"""Links as Windows knows them: reparse points. [MS-FSCC] 2.1.2 has the layouts.

A symbolic link of another system becomes one of Windows, its target in Windows's spelling; FIFOs, sockets and
devices become what the NFS server of Windows makes of them, so that no program takes one for an empty file.
"""

from __future__ import annotations

import os
import stat
import struct
from typing import NamedTuple

from catalog.names import shown

TAG_SYMLINK = 0xA000000C
TAG_NFS = 0x80000014
_HEAD = struct.Struct("<IHH")  # tag, bytes that follow, reserved
_SYMLINK = struct.Struct("<HHHHI")  # offset and length of the substitute name and of the print name, flags
_RELATIVE = 1
_SPECIAL = {stat.S_IFIFO: b"FIFO", stat.S_IFSOCK: b"SOCK", stat.S_IFCHR: b"CHR", stat.S_IFBLK: b"BLK"}


class Target(NamedTuple):
    """Where a symbolic link points. `on_volume`: to a path on its own drive, from its root if it begins so."""

    path: str
    on_volume: bool


def tag_of(buffer: bytes) -> int:
    """The tag of a REPARSE_DATA_BUFFER; 0 if it is too short to have one."""
    return _HEAD.unpack_from(buffer)[0] if len(buffer) >= _HEAD.size else 0


def symlink(target: Target) -> bytes:
    """A REPARSE_DATA_BUFFER. The substitute name is the print name, too."""
    path = target.path.encode("utf-16-le", "surrogatepass")
    flags = _RELATIVE if target.on_volume else 0
    body = _SYMLINK.pack(0, len(path), 0, len(path), flags) + path
    return _HEAD.pack(TAG_SYMLINK, len(body), 0) + body


def target_of(buffer: bytes) -> Target | None:
    """Where a REPARSE_DATA_BUFFER of a symbolic link points; None if it can't be understood."""
    start = _HEAD.size + _SYMLINK.size
    if tag_of(buffer) != TAG_SYMLINK or len(buffer) < start:
        return None
    offset, length, _print_offset, _print_length, flags = _SYMLINK.unpack_from(buffer, _HEAD.size)
    path = buffer[start + offset : start + offset + length]
    if len(path) != length or length % 2:
        return None
    return Target(path.decode("utf-16-le", "surrogatepass"), bool(flags & _RELATIVE))


def special(mode: int, rdev: int) -> bytes | None:
    """The REPARSE_DATA_BUFFER of a FIFO, socket or device by its type bits; None for any other."""
    kind = _SPECIAL.get(stat.S_IFMT(mode))
    if kind is None:
        return None
    body = kind.ljust(8, b"\0")
    if kind in (b"CHR", b"BLK"):
        body += struct.pack("<II", *numbers(rdev))
    return _HEAD.pack(TAG_NFS, len(body), 0) + body


def numbers(rdev: int) -> tuple[int, int]:
    """Major and minor number of a device."""
    return (os.major(rdev), os.minor(rdev)) if hasattr(os, "major") else (rdev >> 8 & 0xFFF, rdev & 0xFF)


def windows_target(target: bytes, root: tuple[str, ...] = ()) -> Target:
    """The target of another system's symbolic link. `root` is the path of its point's root on the drive.

    What was absolute there begins at that root: a link shows what it showed, and not this machine's files.
    """
    parts = [p if p in (b".", b"..") else shown(p) for p in target.split(b"/") if p]
    path = "\\".join(p.decode() if isinstance(p, bytes) else p for p in parts)
    if target.startswith(b"/"):
        path = "\\" + "\\".join((*root, path) if path else root)
    return Target(path or ".", on_volume=True)
