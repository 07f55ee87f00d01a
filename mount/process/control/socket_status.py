"""Answers status requests on a Unix socket: one JSON object for each connection, without any keys.

The socket has mode 0600, its folder 0700: only the user who mounted the drive, and root, can connect.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from catalog.errors import LocalError
from mount.process.rows import DriveStatus, Endpoint, from_json, to_json

_SUN_PATH = 107  # bytes of a Unix socket's address, at most, on Linux
_MOST = 1 << 20  # bytes of an answer
_log = logging.getLogger(__name__)


class SocketServer:
    """Answers from a thread until it is closed. Raises LocalError if the socket can't be created."""

    def __init__(self, path: Path, status: Callable[[], DriveStatus]) -> None:
        self._path = path
        self._status = status
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            mask = os.umask(0o177)
            try:
                at_path(path, self._socket.bind)
            finally:
                os.umask(mask)
            self._socket.listen(8)
            self._identity = _identity(path)
        except OSError as e:
            raise LocalError(
                f"the socket {path} can't be created: {e.strerror or e}", "check the folder's permissions"
            ) from e
        threading.Thread(target=self._serve, name="status", daemon=True).start()

    @property
    def endpoint(self) -> Endpoint:
        """The address of this server, for the registry."""
        return Endpoint(socket=str(self._path))

    def _serve(self) -> None:
        while True:
            try:
                caller, _address = self._socket.accept()
            except OSError:
                return  # closed
            try:
                with caller:
                    caller.settimeout(2.0)
                    caller.sendall(json.dumps(to_json(self._status())).encode())
            except Exception as e:  # noqa: BLE001 - a caller that goes away must not end the thread
                _log.warning("a status request was not answered: %s", e)

    def close(self) -> None:
        # The socket may be another drive's: this one may have been detached, and another mounted at its place.
        if _identity(self._path) == self._identity:
            self._path.unlink(missing_ok=True)
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


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


def at_path(path: Path, use: Callable[[str], None]) -> None:
    """Use the address of a socket, however long its path is: on Linux through its folder's descriptor."""
    if len(os.fsencode(path)) <= _SUN_PATH:
        return use(str(path))
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return use(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
