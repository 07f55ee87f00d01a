"""Makes reparse points for links and special files of other systems. Layouts: [MS-FSCC] 2.1.2.

A symbolic link of another system becomes a Windows symbolic link, its target in Windows's spelling. FIFOs, sockets
and devices become the reparse points of Windows's NFS server, so that no program takes one for an empty file.
"""

from __future__ import annotations

import os
import stat
import struct

from catalog.names import shown
from catalog.windows.reparse import RELATIVE, SYMLINK, LinkTarget, parse, tag_of

TAG_NFS = 0x80000014
_HEAD = struct.Struct("<IHH")  # tag, bytes that follow, reserved
_SYMLINK = struct.Struct("<HHHHI")  # offset and length of the substitute name and of the print name, flags
_SPECIAL = {stat.S_IFIFO: b"FIFO", stat.S_IFSOCK: b"SOCK", stat.S_IFCHR: b"CHR", stat.S_IFBLK: b"BLK"}


def symlink(link: LinkTarget) -> bytes:
    """The REPARSE_DATA_BUFFER of a symbolic link. The substitute name is also the print name."""
    path = link.path.encode("utf-16-le", "surrogatepass")
    body = _SYMLINK.pack(0, len(path), 0, len(path), RELATIVE if link.relative else 0) + path
    return _HEAD.pack(SYMLINK, len(body), 0) + body


def target_of(buffer: bytes) -> LinkTarget | None:
    """The target of a symbolic link; None for anything else, or if it is malformed."""
    if tag_of(buffer) != SYMLINK:
        return None
    try:
        return parse(buffer)
    except OSError:
        return None


def special(mode: int, rdev: int) -> bytes | None:
    """The REPARSE_DATA_BUFFER of a FIFO, socket or device, by its type bits; None for any other type."""
    kind = _SPECIAL.get(stat.S_IFMT(mode))
    if kind is None:
        return None
    body = kind.ljust(8, b"\0")
    if kind in (b"CHR", b"BLK"):
        body += struct.pack("<II", *numbers(rdev))
    return _HEAD.pack(TAG_NFS, len(body), 0) + body


def numbers(rdev: int) -> tuple[int, int]:
    """The major and minor number of a device."""
    if hasattr(os, "major"):
        return os.major(rdev), os.minor(rdev)
    return rdev >> 8 & 0xFFF, rdev & 0xFF | rdev >> 12 & 0xFFF00


def windows_target(target: bytes, root: tuple[str, ...] = ()) -> LinkTarget:
    """The target of another system's symbolic link. `root` is the path of the point's root on the drive.

    An absolute target begins at that root: the link leads to the file in the point, not to this machine's.
    """
    parts = [p if p in (b".", b"..") else shown(p) for p in target.split(b"/") if p]
    path = "\\".join(p.decode() if isinstance(p, bytes) else p for p in parts)
    if target.startswith(b"/"):
        path = "\\" + "\\".join((*root, path) if path else root)
    return LinkTarget(path or ".", relative=True)
