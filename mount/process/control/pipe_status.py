"""What a drive on Windows tells of itself, and how it is asked to close: one request over a named pipe. Never keys.

Windows lets everybody read from a named pipe that is not secured. So the pipe's name can't be guessed, and nothing
is told before the caller has shown that it knows a token. Both stand in the drive's entry in the registry, in the
user's own folder.
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
    """A name that nobody can guess."""
    return rf"\\.\pipe\rpdrive-{secrets.token_hex(16)}"


class PipeServer:
    """Answers from threads until it is closed. LocalError if the pipe can't be made.

    `close_drive` is asked to close the drive (`lazy`: though files on it are open); it says why it doesn't, or "".
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
            raise LocalError(f"the pipe {address} can't be made: {e}") from e
        threading.Thread(target=self._serve, name="status", daemon=True).start()

    @property
    def endpoint(self) -> Endpoint:
        """What the registry has to know."""
        return Endpoint(pipe=self.address, token=self.token.hex())

    def _serve(self) -> None:
        while not self._closed:
            try:
                caller: Connection = self._listener.accept()
            except OSError:
                if self._closed:
                    return
                continue  # a caller that went away
            # One each: a caller that says nothing holds up nobody.
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
            _log.warning("a question for the drive's status was not answered: %s", e)
        except Exception:  # noqa: BLE001 - a strange caller must not end anything
            _log.exception("a question for the drive's status was not answered")

    def close(self) -> None:
        self._closed = True
        try:
            Client(self.address).close()  # on Windows nothing else ends the wait for a caller
        except OSError:
            pass
        self._listener.close()


def ask(address: str, token: str, timeout: float = 2.0) -> DriveStatus | None:
    """What the drive with this pipe says; None if it doesn't answer within `timeout` seconds."""
    answer = _request(address, token, "status", timeout)
    return from_json(DriveStatus, answer) if answer is not None else None


def ask_to_close(address: str, token: str, *, lazy: bool, timeout: float = 2.0) -> str | None:
    """Why the drive with this pipe doesn't close, or ""; None if it doesn't answer within `timeout` seconds."""
    answer = _request(address, token, "close --lazy" if lazy else "close", timeout)
    try:
        row = json.loads(answer) if answer is not None else None
    except ValueError:
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
