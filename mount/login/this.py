"""Chooses the units or tasks of the operating system that this process runs on."""

from __future__ import annotations

import os

from mount.login.base import Login


def _chosen() -> Login:
    if os.name == "nt":
        from mount.login.schtasks import ScheduledTasks

        return ScheduledTasks()
    from mount.login.systemd import SystemdUnits

    return SystemdUnits()


LOGIN = _chosen()
