"""The sockets that the page listens on: both loopback addresses, a Unix socket, or a named address.

They are taken exclusively and listen at once: whoever had the other loopback address would get the visitors of
`localhost`.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

from catalog.errors import LocalError, UsageError
from catalog.systems.this import SYSTEM
from mount.process.control.own_socket import at_path

Socket: TypeAlias = socket.socket
_BACKLOG = 128
_ATTEMPTS = 50  # at a port that is free at both addresses
_NO_SUCH = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


class Loopback(NamedTuple):
    """Listening sockets at both loopback addresses. `notice` says why there is one only, or is empty."""

    port: int
    sockets: list[socket.socket]
    notice: str


def loopback(port: int | None) -> Loopback:
    """Listen at 127.0.0.1 and [::1]; None: at a free port. Raises LocalError."""
    for _ in range(1 if port else _ATTEMPTS):
        try:
            first = _listen(socket.AF_INET, "127.0.0.1", port or 0)
        except OSError as e:
            raise _taken("127.0.0.1", port, e) from e
        found = first.getsockname()[1]
        try:
            second = _listen(socket.AF_INET6, "::1", found)
        except OSError as e:
            if e.errno in _NO_SUCH:
                return Loopback(found, [first], "this machine has no [::1], so the page is at 127.0.0.1 only")
            first.close()
            if port:
                raise _taken("[::1]", port, e) from e
            continue
        return Loopback(found, [first, second], "")
    raise LocalError("no port is free at both 127.0.0.1 and [::1]", "name one with --port")


def named(host: str, port: int) -> list[socket.socket]:
    """Listen at every address that a name of this machine has here. `host`: a name, or an address without brackets.

    Raises UsageError if it is no name of this machine that other devices could reach, LocalError if the port is
    taken.
    """
    try:
        found = dict.fromkeys((f[0], str(f[4][0])) for f in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except OSError as e:
        raise UsageError(f"--listen: {host} is not the name of any machine: {e.strerror}") from e
    if any(address in ("0.0.0.0", "::") for _family, address in found):
        raise UsageError("--listen needs the one name or address that other devices use", "e.g. --listen 192.0.2.7")
    if all(_is_loopback(address) for _family, address in found):
        raise UsageError(
            f"--listen: {host} means this machine only, at {next(iter(found))[1]}",
            "name the address that other devices use",
        )
    sockets: list[socket.socket] = []
    try:
        for family, address in found:
            sockets.append(_listen(family, address, port))
            port = sockets[0].getsockname()[1]
    except OSError as e:
        for each in sockets:
            each.close()
        if e.errno in _NO_SUCH:
            raise UsageError(f"--listen: {address} is not an address of this machine") from e
        raise _taken(address, port, e) from e
    return sockets


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _listen(family: int, address: str, port: int) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
        if exclusive is not None:  # on Windows, SO_REUSEADDR would let anybody take the port from us
            listening.setsockopt(socket.SOL_SOCKET, exclusive, 1)
        else:  # elsewhere nobody can bind what somebody listens at; this only skips connections that have ended
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((address, port))
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _taken(address: str, port: int | None, error: OSError) -> LocalError:
    what = f"{address}, port {port}" if port else address
    return LocalError(f"the page can't listen at {what}: {error.strerror}", "choose another port with --port")


@contextmanager
def unix(path: Path) -> Iterator[socket.socket]:
    """While entered, a Unix socket with mode 0600 listens at `path`. Raises LocalError or UsageError.

    A socket that a dead process of this user left is replaced; nothing else is.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise UsageError("--socket is not possible on this system", "use --port")
    _make_room(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            mask = os.umask(0o177)
            try:
                at_path(path, listening.bind)
            finally:
                os.umask(mask)
            listening.listen(_BACKLOG)
            own = path.lstat()
        except OSError as e:
            raise LocalError(
                f"the socket {path} can't be made: {e.strerror or e}", "check the folder and its permissions"
            ) from e
        try:
            yield listening
        finally:
            with suppress(OSError):
                if os.path.samestat(path.lstat(), own):
                    path.unlink()
    finally:
        listening.close()


def _make_room(path: Path) -> None:
    """Remove the socket of a dead process of this user. Raises LocalError if anything else has the name."""
    try:
        folder = path.parent.stat()
        if folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not folder.st_mode & stat.S_ISVTX:
            raise LocalError(
                f"others may replace files in {path.parent}", "choose a folder of your own for --socket"
            )
        status = path.lstat()
    except FileNotFoundError:
        return
    except OSError as e:
        raise LocalError(f"the socket {path} can't be made: {e.strerror}", "choose another path") from e
    if not stat.S_ISSOCK(status.st_mode):
        raise LocalError(f"{path} exists, and is no socket", "choose another path for --socket")
    if not SYSTEM.is_own(status):
        raise LocalError(f"the socket {path} is another user's", "choose another path for --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(2.0)
        try:
            at_path(path, trial.connect)
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError:
            pass  # it doesn't answer, but somebody listens
    raise LocalError(f"a process listens at the socket {path}", "end it, or choose another path for --socket")
