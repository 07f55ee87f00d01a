"""Chooses the way that orders take on the operating system that this process runs on."""

from __future__ import annotations

import os

from mount.browse.server.control.base import Orders


def _chosen() -> Orders:
    if os.name == "nt":
        from mount.browse.server.control.windows import WindowsOrders

        return WindowsOrders()
    from mount.browse.server.control.posix import PosixOrders

    return PosixOrders()


ORDERS = _chosen()
