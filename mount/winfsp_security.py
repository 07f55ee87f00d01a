"""Security descriptors for what has none of its own: the points of other systems, and the folders above them."""

from __future__ import annotations

import struct
from functools import cache

from mount.view import Folder, Node
from mount.windows import user_sid

_ADMINISTRATORS, _SYSTEM, _EVERYONE = "S-1-5-32-544", "S-1-5-18", "S-1-1-0"
_READ_AND_EXECUTE = 0x1200A9  # FILE_GENERIC_READ | FILE_GENERIC_EXECUTE
_PROTECTED, _SELF_RELATIVE, _DACL_PRESENT = 0x1000, 0x8000, 0x0004


class Descriptors:
    """Read and execute for whoever mounted, Administrators and the system; with `for_all`, for everybody."""

    def __init__(self, sid: str | None = None) -> None:
        """`sid` is whoever mounts; this user, if it is left out."""
        self._sid = sid
        self.for_all = False

    def made_for(self, node: Node) -> bytes:
        """Self-relative, with an owner and a group: without these Windows checks nothing, and refuses."""
        if self._sid is None:
            self._sid = user_sid()
        return _descriptor(self._sid, self.for_all, isinstance(node, Folder))


@cache
def _descriptor(sid: str, for_all: bool, folder: bool) -> bytes:
    who = [sid, _ADMINISTRATORS, _SYSTEM, *([_EVERYONE] if for_all else [])]
    aces = b""
    for one in dict.fromkeys(who):
        body = struct.pack("<I", _READ_AND_EXECUTE) + _sid(one)
        aces += struct.pack("<BBH", 0, 0, 4 + len(body)) + body
    acl = struct.pack("<BBHHH", 2, 0, 8 + len(aces), len(dict.fromkeys(who)), 0) + aces
    owner, group = _sid(sid), _sid(_ADMINISTRATORS)
    control = _SELF_RELATIVE | _DACL_PRESENT | _PROTECTED
    head = struct.pack("<BBHIIII", 1, 0, control, 20, 20 + len(owner), 0, 20 + len(owner) + len(group))
    return head + owner + group + acl


def _sid(text: str) -> bytes:
    _s, revision, authority, *rest = text.split("-")
    head = struct.pack("<BB", int(revision), len(rest)) + int(authority).to_bytes(6, "big")
    return head + struct.pack(f"<{len(rest)}I", *map(int, rest))
