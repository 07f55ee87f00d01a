"""Chooses the calls of the operating system that this process runs on."""

from __future__ import annotations

import os

from catalog.systems.base import System


def _chosen() -> System:
    if os.name == "nt":
        from catalog.systems.windows import WindowsSystem

        return WindowsSystem()
    from catalog.systems.posix import PosixSystem

    return PosixSystem()


SYSTEM = _chosen()
