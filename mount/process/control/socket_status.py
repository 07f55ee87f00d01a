"""Answers status requests on a Unix socket: one JSON object for each connection, without any keys.

The socket has mode 0600, its folder 0700: only the user who mounted the drive, and root, can connect.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

from mount.process.control.own_socket import OwnSocket, at_path
from mount.process.rows import DriveStatus, Endpoint, from_json, to_json

_MOST = 1 << 20  # bytes of an answer
_SECONDS = 2.0  # for a caller


class SocketServer:
    """Answers from a thread until it is closed. Raises LocalError if the socket can't be created."""

    def __init__(self, path: Path, status: Callable[[], DriveStatus]) -> None:
        self._status = status
        self._socket = OwnSocket(path, self._answer, _SECONDS)

    @property
    def endpoint(self) -> Endpoint:
        """The address of this server, for the registry."""
        return Endpoint(socket=str(self._socket.path))

    def _answer(self, caller: socket.socket) -> None:
        if _has_gone(caller):
            return  # a status takes time, and others wait for theirs
        caller.sendall(json.dumps(to_json(self._status())).encode())

    def close(self) -> None:
        self._socket.close()


def _has_gone(caller: socket.socket) -> bool:
    seconds = caller.gettimeout()
    caller.settimeout(0)
    try:
        return not caller.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    finally:
        caller.settimeout(seconds)


def ask(path: Path, timeout: float = 2.0) -> DriveStatus | None:
    """The status of the drive with this socket; None if it doesn't answer within `timeout` seconds."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        data = bytearray()
        try:
            at_path(path, connection.connect)
            while part := connection.recv(1 << 16):
                data += part
                if len(data) > _MOST:
                    return None
        except OSError:
            return None
    return from_json(DriveStatus, bytes(data))
