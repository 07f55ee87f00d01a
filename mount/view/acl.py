"""Permission bits that keep out whom an entry's ACL keeps out, for systems that go by the bits alone.

With an ACL, the group bits of a mode are its *mask*: the most that a named user or group gets. Shown as group bits,
they let in the owning group, which may have less, and the bits for others let in named users who may have none.
"""

from __future__ import annotations

import struct

from catalog.format.values import OutOfLine

ACCESS = b"system.posix_acl_access"
_HEAD, _ROW = struct.Struct("<I"), struct.Struct("<HHI")  # linux/posix_acl_xattr.h: version; tag, permissions, id
_VERSION = 2
_NAMED_USER, _OWNING_GROUP, _NAMED_GROUP, _MASK = 0x02, 0x04, 0x08, 0x10


def narrowed(mode: int, acl: bytes | OutOfLine | None) -> int:
    """A mode whose bits give nobody more than mode and access ACL together; without an ACL the mode itself.

    Named users and groups lose what only the ACL gives them. A malformed ACL, or one stored out of line, leaves the
    owner's bits alone.
    """
    if acl is None:
        return mode
    rows = _rows(acl)
    if rows is None:
        return mode & ~0o077
    mask = next((may for tag, may in rows if tag == _MASK), 7)
    group = next((may for tag, may in rows if tag == _OWNING_GROUP), 0) & mask
    others = mode & 7
    for tag, may in rows:
        if tag in (_NAMED_USER, _NAMED_GROUP):
            others &= may & mask
        if tag == _NAMED_USER:  # such a user may be in the owning group
            group &= may & mask
    return mode & ~0o077 | group << 3 | others


def _rows(acl: bytes | OutOfLine) -> list[tuple[int, int]] | None:
    """Tags and permissions; None if the ACL can't be read."""
    if isinstance(acl, OutOfLine) or len(acl) < _HEAD.size or (len(acl) - _HEAD.size) % _ROW.size:
        return None
    if _HEAD.unpack_from(acl)[0] != _VERSION:
        return None
    return [(tag, may & 7) for tag, may, _who in _ROW.iter_unpack(acl[_HEAD.size :])]
