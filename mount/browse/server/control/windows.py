"""Orders on a named pipe of Windows. Its name can't be guessed, and callers prove that they know a key.

Name and key are in the file of the address, which is in a folder of this user.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

from catalog.access.settings import write_private
from catalog.errors import LocalError
from mount.browse.server.control.base import MOST, SECONDS, Answering, Row, answered, packed, unpacked
from mount.process.control.pipe_status import free_pipe

_log = logging.getLogger("rpdrive.browse")


class WindowsOrders:
    """Implements Orders."""

    def serve(self, address: Path, answer: Answering) -> PipeOrders:
        return PipeOrders(address, answer)

    def ask(self, address: Path, order: Row) -> Row | None:
        try:
            row = json.loads(address.read_bytes())
            pipe, key = str(row["pipe"]), bytes.fromhex(row["key"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        found: list[bytes] = []

        def talk() -> None:
            try:
                with Client(pipe, authkey=key) as connection:
                    connection.send_bytes(packed(order))
                    found.append(connection.recv_bytes(MOST))
            except (OSError, EOFError, ValueError, AuthenticationError):
                return

        thread = threading.Thread(target=talk, name="ask", daemon=True)
        thread.start()
        thread.join(SECONDS)
        return unpacked(found[0]) if found else None


class PipeOrders:
    """Implements OrderServer."""

    def __init__(self, path: Path, answer: Answering, pipe: str | None = None) -> None:
        """`pipe`: in place of a new one, for tests on other systems."""
        self._path, self._answer, self._closed = path, answer, False
        self._pipe, key = pipe or free_pipe(), secrets.token_bytes(32)
        try:
            self._listener = Listener(self._pipe, authkey=key)
        except OSError as e:
            raise LocalError(f"the pipe {self._pipe} can't be created: {e}") from e
        write_private(path, json.dumps({"pipe": self._pipe, "key": key.hex()}).encode())
        threading.Thread(target=self._serve, name="orders", daemon=True).start()

    def _serve(self) -> None:
        while not self._closed:
            try:
                caller: Connection = self._listener.accept()
            except (OSError, EOFError, AuthenticationError):
                continue  # the caller has gone, or does not know the key
            threading.Thread(target=self._one, args=(caller,), name="order", daemon=True).start()

    def _one(self, caller: Connection) -> None:
        try:
            with caller:
                caller.send_bytes(answered(self._answer, caller.recv_bytes(MOST)))
        except Exception as e:  # noqa: BLE001 - no caller must end the page
            _log.warning("an order was not answered: %s", e)

    def close(self) -> None:
        self._closed = True
        try:
            Client(self._pipe).close()  # only a caller ends accept()
        except (OSError, EOFError):
            pass
        self._listener.close()
        self._path.unlink(missing_ok=True)
