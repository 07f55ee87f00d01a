"""Users behind loopback connections on Linux: the kernel says whose socket the other end is (sock_diag(7))."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import NamedTuple

from mount.browse.server.peers.base import Ends

_SOCK_DIAG, _BY_FAMILY, _REQUEST, _ERROR = 4, 20, 1, 2
_ID = struct.Struct("!HH16s16sI8s")  # ports, addresses, any interface, no cookie
_HEAD = struct.Struct("=IHHII")
_FOUND = struct.Struct(f"=BBBB{_ID.size}sIIIII")  # at the end: the user's id and the inode
_SECONDS = 1.0
_NO_LOGIN = (1 << 32) - 1


class Owner(NamedTuple):
    """Of a socket. Without an inode its process is gone, and what it says of the user is 0."""

    user: int
    inode: int


class LinuxPeers:
    """Implements Peers. The users who may use the page: ours, root, and the one who became us by `sudo` or `su`."""

    def __init__(self, allowed: frozenset[int] | None = None) -> None:
        self._allowed = _allowed() if allowed is None else allowed

    def is_foreign(self, ends: Ends) -> bool:
        try:
            owner = owner_of(ends)
        except (OSError, struct.error):
            return False  # a kernel, or a sandbox, that does not tell
        return owner is not None and (owner.inode == 0 or owner.user not in self._allowed)


def owner_of(ends: Ends) -> Owner | None:
    """The owner of the other end; None if the connection is no more. Raises OSError if the kernel doesn't tell."""
    (their_address, their_port), (our_address, our_port) = ends
    family = socket.AF_INET6 if ":" in their_address else socket.AF_INET
    theirs, ours = (socket.inet_pton(family, one).ljust(16, b"\0") for one in (their_address, our_address))
    which = _ID.pack(their_port, our_port, theirs, ours, 0, b"\xff" * 8)
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + which
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(_SECONDS)
        kernel.sendto(_HEAD.pack(_HEAD.size + len(request), _BY_FAMILY, _REQUEST, 1, 0) + request, (0, 0))
        answer = kernel.recv(4096)
    _length, kind, _flags, _number, _sender = _HEAD.unpack_from(answer)
    if kind == _ERROR:
        error = -int(struct.unpack_from("=i", answer, _HEAD.size)[0])
        if error == 2:  # ENOENT
            return None
        raise OSError(error, os.strerror(error))
    *_rest, user, inode = _FOUND.unpack_from(answer, _HEAD.size)
    return Owner(user, inode)


def _allowed() -> frozenset[int]:
    found = {os.geteuid(), 0}
    try:
        login = int(Path("/proc/self/loginuid").read_bytes())
        if login != _NO_LOGIN:
            found.add(login)
    except (OSError, ValueError):
        pass  # no audit in this kernel
    given = os.environ.get("SUDO_UID", "")
    if given.isascii() and given.isdigit() and os.geteuid() == 0:
        found.add(int(given))
    return frozenset(found)
