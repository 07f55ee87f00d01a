"""A drive's socket answers who waits for it, whatever others do there."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from mount.process.control.own_socket import at_path
from mount.process.control.socket_status import SocketServer
from mount.process.rows import DriveStatus


def test_callers_that_have_gone_hold_up_nobody(tmp_path: Path) -> None:
    asked, held = list[bytes](), threading.Event()

    def status() -> DriveStatus:
        asked.append(b"")
        held.wait(30)
        raise OSError("no status: its answer is not what this is about")

    path = tmp_path / "drive.sock"
    server = SocketServer(path, status)
    try:
        with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as last:
            at_path(path, first.connect)
            for _ in range(5):
                with socket.socket(socket.AF_UNIX) as rude:
                    at_path(path, rude.connect)
            at_path(path, last.connect)
            held.set()
            for caller in (first, last):
                caller.settimeout(30)
                assert caller.recv(100) == b""  # it came to an end
        assert len(asked) == 2
    finally:
        server.close()
