"""The sockets that the page listens at."""

from __future__ import annotations

import socket

from catalog.errors import LocalError


def loopback(port: int = 0) -> list[socket.socket]:
    """Both loopback addresses at one port, so that no other user takes the other one. 0: a free port.

    Raises LocalError if the port is taken.
    """
    last: OSError | None = None
    for _attempt in range(1 if port else 20):
        try:
            return _both(port)
        except OSError as e:
            last = e
    raise LocalError(
        f"the port {port} can't be used: {last.strerror if last else ''}", "choose another with --port"
    ) from last


def _both(port: int) -> list[socket.socket]:
    first = _bound(socket.AF_INET, "127.0.0.1", port)
    if not socket.has_ipv6:
        return [first]
    try:
        return [first, _bound(socket.AF_INET6, "::1", first.getsockname()[1])]
    except OSError as e:
        first.close()
        raise e


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((address, port))
        one.listen(128)
    except OSError:
        one.close()
        raise
    return one
