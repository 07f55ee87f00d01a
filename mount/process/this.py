"""Chooses the processes of the operating system that this process runs on."""

from __future__ import annotations

import os

from mount.process.base import Processes


def _chosen() -> Processes:
    if os.name == "nt":
        from mount.process.windows import WindowsProcesses

        return WindowsProcesses()
    from mount.process.posix import PosixProcesses

    return PosixProcesses()


PROCESSES = _chosen()
