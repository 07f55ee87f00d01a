"""Security descriptors for nodes without their own: in points of other systems, and folders above points."""

from __future__ import annotations

from functools import cache

from catalog.windows.descriptor import READ_AND_EXECUTE, from_sddl, synthesised, to_sddl
from catalog.windows.machine import user_sid
from mount.view.nodes import Folder, Node


class Descriptors:
    """Read and execute for the user who mounted and for Administrators; with `for_all`, for everyone."""

    def __init__(self, sid: str | None = None) -> None:
        """`sid` is the user who mounts; by default this user."""
        self._sid = sid
        self.for_all = False

    def made_for(self, node: Node) -> bytes:
        """Self-relative, with an owner and a group: without these Windows refuses access."""
        if self._sid is None:
            self._sid = user_sid()
        folder = isinstance(node, Folder)
        return _for_all(self._sid, folder) if self.for_all else synthesised(self._sid, folder=folder)


@cache
def _for_all(sid: str, folder: bool) -> bytes:
    everybody = f"(A;{'OICI' if folder else ''};0x{READ_AND_EXECUTE:x};;;WD)"
    return from_sddl(to_sddl(synthesised(sid, folder=folder)) + everybody)
