"""Links as Windows knows them: reparse points. [MS-FSCC] 2.1.2 has the layouts.

A symbolic link of another system becomes one of Windows, its target in Windows's spelling; FIFOs, sockets and
devices become what the NFS server of Windows makes of them, so that no program takes one for an empty file.
"""

from __future__ import annotations

import os
import stat
import struct

from catalog.names import shown
from catalog.windows.reparse import RELATIVE, SYMLINK, Link, parse, tag_of

TAG_NFS = 0x80000014
_HEAD = struct.Struct("<IHH")  # tag, bytes that follow, reserved
_SYMLINK = struct.Struct("<HHHHI")  # offset and length of the substitute name and of the print name, flags
_SPECIAL = {stat.S_IFIFO: b"FIFO", stat.S_IFSOCK: b"SOCK", stat.S_IFCHR: b"CHR", stat.S_IFBLK: b"BLK"}


def symlink(link: Link) -> bytes:
    """The REPARSE_DATA_BUFFER of a symbolic link. The substitute name is the print name, too."""
    path = link.path.encode("utf-16-le", "surrogatepass")
    body = _SYMLINK.pack(0, len(path), 0, len(path), RELATIVE if link.relative else 0) + path
    return _HEAD.pack(SYMLINK, len(body), 0) + body


def target_of(buffer: bytes) -> Link | None:
    """Where a symbolic link leads; None if it is none, or can't be understood."""
    if tag_of(buffer) != SYMLINK:
        return None
    try:
        return parse(buffer)
    except OSError:
        return None


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
    if hasattr(os, "major"):
        return os.major(rdev), os.minor(rdev)
    return rdev >> 8 & 0xFFF, rdev & 0xFF | rdev >> 12 & 0xFFF00


def windows_target(target: bytes, root: tuple[str, ...] = ()) -> Link:
    """The target of another system's symbolic link. `root` is the path of its point's root on the drive.

    What was absolute there begins at that root: a link shows what it showed, and not this machine's files.
    """
    parts = [p if p in (b".", b"..") else shown(p) for p in target.split(b"/") if p]
    path = "\\".join(p.decode() if isinstance(p, bytes) else p for p in parts)
    if target.startswith(b"/"):
        path = "\\" + "\\".join((*root, path) if path else root)
    return Link(path or ".", relative=True)
