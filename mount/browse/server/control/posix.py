"""Orders on a Unix socket with mode 0600: a JSON object on a line each way."""

from __future__ import annotations

import logging
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

from catalog.errors import LocalError
from mount.browse.server.control.base import MOST, SECONDS, Answering, Row, answered, packed, unpacked
from mount.process.control.socket_status import at_path

_log = logging.getLogger("rpdrive.browse")


class PosixOrders:
    """Implements Orders."""

    def serve(self, address: Path, answer: Answering) -> SocketOrders:
        return SocketOrders(address, answer)

    def ask(self, address: Path, order: Row) -> Row | None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SECONDS)
            try:
                at_path(address, connection.connect)
                connection.sendall(packed(order))
                return unpacked(_line(connection))
            except OSError:
                return None


class SocketOrders:
    """Implements OrderServer. The caller holds the page's lock: an older socket is of a process that has ended."""

    def __init__(self, path: Path, answer: Answering) -> None:
        self._path, self._answer = path, answer
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            mask = os.umask(0o177)
            try:
                at_path(path, self._socket.bind)
            finally:
                os.umask(mask)
            self._socket.listen(8)
            self._own = path.lstat()
        except OSError as e:
            self._socket.close()
            raise LocalError(
                f"the socket {path} can't be made: {e.strerror or e}", "check the folder's permissions"
            ) from e
        threading.Thread(target=self._serve, name="orders", daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                caller, _address = self._socket.accept()
            except OSError:
                return  # closed
            try:
                with caller:
                    caller.settimeout(SECONDS)
                    caller.sendall(answered(self._answer, _line(caller)))
            except Exception as e:  # noqa: BLE001 - a caller that goes away must not end the thread
                _log.warning("an order was not answered: %s", e)

    def close(self) -> None:
        with suppress(OSError):
            if os.path.samestat(self._path.lstat(), self._own):
                self._path.unlink()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _line(connection: socket.socket) -> bytes:
    data = bytearray()
    while b"\n" not in data and len(data) <= MOST and (part := connection.recv(1 << 12)):
        data += part
    return bytes(data)
