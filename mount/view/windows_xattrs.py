"""The metadata of Windows as extended attributes, by which other systems show it for points made on Windows.

`user.DOSATTRIB` is in Samba's format, `user.ads.<name>` is a data stream, and `system.ntfs_…` are those of ntfs-3g:
a file copied with them to a Samba share or a volume of ntfs-3g gets its metadata back. Streams and lists of names
beyond Linux's limits for attributes are left out.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from catalog.format.windows import Windows, name_bytes, name_text
from catalog.windows.times import to_filetime

if TYPE_CHECKING:
    from mount.view.nodes import Node

MOST = 64 << 10  # bytes of a value, and of all names: XATTR_SIZE_MAX, XATTR_LIST_MAX
MOST_NAME = 255  # bytes: XATTR_NAME_MAX
STREAM = b"user.ads."
DOS_ATTRIBUTES = b"user.DOSATTRIB"
ACL, REPARSE, EXTENDED = b"system.ntfs_acl", b"system.ntfs_reparse_data", b"system.ntfs_ea"
ATTRIBUTES, CREATED, SHORT_NAME = b"system.ntfs_attrib", b"system.ntfs_crtime", b"system.ntfs_dos_name"

# xattr_DOSATTRIB of Samba's librpc/idl/xattr.idl in version 5: an empty string and its alignment, the version twice
# (the second selects the member of a union), which fields are valid, attributes, time of creation.
_DOS_ATTRIBUTES = struct.Struct("<HHHxxIIQ")
_HAS_ATTRIBUTES, _HAS_CREATED = 0x1, 0x10


def names(windows: Windows, *, is_link: bool = False) -> list[bytes]:
    """Names of the attributes. For a symlink, omits user.*: Linux does not return those."""
    w = windows
    found = [ATTRIBUTES] if is_link else [DOS_ATTRIBUTES, ATTRIBUTES]
    for name, there in (
        (CREATED, w.created is not None),
        (ACL, w.security is not None),
        (REPARSE, w.reparse is not None),
        (EXTENDED, w.extended is not None),
        (SHORT_NAME, bool(w.short_name)),
    ):
        if there:
            found.append(name)
    room = MOST // 2 - sum(len(name) + 1 for name in found)  # the other half is for the entry's own attributes
    for stream in () if is_link else w.streams:
        name = STREAM + name_bytes(stream.name)
        if stream.size <= MOST and len(name) <= MOST_NAME and len(name) < room:
            found.append(name)
            room -= len(name) + 1
    return found


def value(node: Node, name: bytes) -> bytes | None:
    """The value of an attribute of a node made on Windows; None if it has none of that name."""
    w = node.windows
    if w is None or not name.startswith((b"user.", b"system.ntfs_")):
        return None
    if name.startswith(STREAM):
        return _stream(node, w, name) if name in names(w) else None
    known = {ACL: w.security, REPARSE: w.reparse, EXTENDED: w.extended}.get(name)
    if isinstance(known, bytes):
        return known if len(known) <= MOST else None
    if name == DOS_ATTRIBUTES:
        return dos_attributes(w)
    if name == ATTRIBUTES:
        return struct.pack("=I", w.attributes)
    if name == CREATED and w.created is not None:
        return struct.pack("=Q", to_filetime(w.created))
    if name == SHORT_NAME and w.short_name:
        return name_bytes(w.short_name)
    return None


def dos_attributes(w: Windows) -> bytes:
    """The value of `user.DOSATTRIB`."""
    flags = _HAS_ATTRIBUTES if w.created is None else _HAS_ATTRIBUTES | _HAS_CREATED
    created = 0 if w.created is None else to_filetime(w.created)
    return _DOS_ATTRIBUTES.pack(0, 5, 5, flags, w.attributes, created)


def _stream(node: Node, w: Windows, name: bytes) -> bytes:
    wanted = name_text(name[len(STREAM) :])
    size = next(s.size for s in w.streams if s.name == wanted)
    return bytes(node.stream(wanted).read(0, size))
