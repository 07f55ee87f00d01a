"""A Unix socket in a folder of rpdrive: mode 0600, answered by one thread, removed by whoever made it."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from catalog.errors import LocalError

_SUN_PATH = 107  # bytes of a Unix socket's address, at most, on Linux
_log = logging.getLogger(__name__)


class OwnSocket:
    """Answers from a thread until it is closed. Raises LocalError if the socket can't be created.

    `answer` gets each connection in turn, and may wait `seconds` for it. One that stands at the path already is
    of a process that has ended.
    """

    def __init__(self, path: Path, answer: Callable[[socket.socket], object], seconds: float) -> None:
        self.path = path
        self._answer, self._seconds = answer, seconds
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
            self._socket.close()
            raise LocalError(
                f"the socket {path} can't be created: {e.strerror or e}", "check the folder's permissions"
            ) from e
        threading.Thread(target=self._serve, name=path.stem, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                caller, _address = self._socket.accept()
            except OSError:
                return  # closed
            try:
                with caller:
                    caller.settimeout(self._seconds)
                    self._answer(caller)
            except Exception as e:  # noqa: BLE001 - a caller that goes away must not end the thread
                _log.warning("a request at %s was not answered: %s", self.path, e)

    def close(self) -> None:
        # The socket may be another process's: this one's may have been replaced.
        if _identity(self.path) == self._identity:
            self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def at_path(path: Path, use: Callable[[str], None]) -> None:
    """Use the address of a socket, however long its path is: on Linux through its folder's descriptor."""
    if len(os.fsencode(path)) <= _SUN_PATH:
        return use(str(path))
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return use(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
