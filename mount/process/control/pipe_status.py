"""Answers status and close requests on a named pipe of Windows: one for each connection, without any keys.

Windows lets every user read from a named pipe that has no security descriptor. So the pipe's name can't be guessed,
and the server answers only callers that prove to know a token. Both are in the drive's row in the registry, in a
folder of this user.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Callable
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener, answer_challenge, deliver_challenge

from catalog.errors import LocalError
from mount.process.rows import DriveStatus, Endpoint, from_json, to_json

_MOST = 1 << 20  # bytes of an answer
_log = logging.getLogger(__name__)


def free_pipe() -> str:
    """The name of a new pipe, which can't be guessed."""
    return rf"\\.\pipe\rpdrive-{secrets.token_hex(16)}"


class PipeServer:
    """Answers from threads until it is closed. Raises LocalError if the pipe can't be created.

    `close_drive` closes the drive (`lazy`: even if files on it are open); it returns why it refuses, or "".
    """

    def __init__(self, address: str, status: Callable[[], DriveStatus], close_drive: Callable[[bool], str]) -> None:
        self.address = address
        self.token = secrets.token_bytes(32)
        self._status = status
        self._close_drive = close_drive
        self._closed = False
        try:
            self._listener = Listener(address)
        except OSError as e:
            raise LocalError(f"the pipe {address} can't be created: {e}") from e
        threading.Thread(target=self._serve, name="status", daemon=True).start()

    @property
    def endpoint(self) -> Endpoint:
        """The address of this server, for the registry."""
        return Endpoint(pipe=self.address, token=self.token.hex())

    def _serve(self) -> None:
        while not self._closed:
            try:
                caller: Connection = self._listener.accept()
            except OSError:
                if self._closed:
                    return
                continue  # the caller has gone
            # A thread for each, so that a silent caller doesn't delay others.
            threading.Thread(target=self._answer, args=(caller,), name="status", daemon=True).start()

    def _answer(self, caller: Connection) -> None:
        try:
            with caller:
                if self._closed:
                    return
                deliver_challenge(caller, self.token)
                answer_challenge(caller, self.token)
                request = caller.recv_bytes(100)
                if request == b"status":
                    caller.send_bytes(json.dumps(to_json(self._status())).encode())
                elif request in (b"close", b"close --lazy"):
                    caller.send_bytes(json.dumps({"refused": self._close_drive(b"--lazy" in request)}).encode())
        except (OSError, EOFError, AuthenticationError) as e:
            _log.warning("a status request was not answered: %s", e)
        except Exception:  # noqa: BLE001 - no caller must end the drive
            _log.exception("a status request was not answered")

    def close(self) -> None:
        self._closed = True
        try:
            Client(self.address).close()  # on Windows only a caller ends accept()
        except OSError:
            pass
        self._listener.close()


def ask(address: str, token: str, timeout: float = 2.0) -> DriveStatus | None:
    """The status of the drive with this pipe; None if it doesn't answer within `timeout` seconds."""
    answer = _request(address, token, "status", timeout)
    return from_json(DriveStatus, answer) if answer is not None else None


def ask_to_close(address: str, token: str, *, lazy: bool, timeout: float = 2.0) -> str | None:
    """Ask a drive to close. Returns why it refuses, or ""; None if it doesn't answer within `timeout` seconds."""
    answer = _request(address, token, "close --lazy" if lazy else "close", timeout)
    try:
        row = json.loads(answer) if answer is not None else None
    except (ValueError, RecursionError):
        return None
    return str(row["refused"]) if isinstance(row, dict) and "refused" in row else None


def _request(address: str, token: str, request: str, timeout: float) -> bytes | None:
    found: list[bytes] = []

    def talk() -> None:
        try:
            with Client(address) as connection:
                key = bytes.fromhex(token)
                answer_challenge(connection, key)
                deliver_challenge(connection, key)
                connection.send_bytes(request.encode())
                found.append(connection.recv_bytes(_MOST))
        except (OSError, EOFError, ValueError, AuthenticationError):
            return

    thread = threading.Thread(target=talk, name="ask", daemon=True)
    thread.start()
    thread.join(timeout)
    return found[0] if found else None
