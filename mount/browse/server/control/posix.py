"""Orders on a Unix socket with mode 0600: a JSON object on a line each way."""

from __future__ import annotations

import socket
from pathlib import Path

from mount.browse.server.control.base import MOST, SECONDS, Answering, Row, answered, packed, unpacked
from mount.process.control.own_socket import OwnSocket, at_path


class PosixOrders:
    """Implements Orders. The caller of `serve` holds the page's lock."""

    def serve(self, address: Path, answer: Answering) -> OwnSocket:
        return OwnSocket(address, lambda caller: caller.sendall(answered(answer, _line(caller))), SECONDS)

    def ask(self, address: Path, order: Row) -> Row | None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SECONDS)
            try:
                at_path(address, connection.connect)
                connection.sendall(packed(order))
                return unpacked(_line(connection))
            except OSError:
                return None


def _line(connection: socket.socket) -> bytes:
    data = bytearray()
    while b"\n" not in data and len(data) <= MOST and (part := connection.recv(1 << 12)):
        data += part
    return bytes(data)
