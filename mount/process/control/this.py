"""Chooses the control of open drives on the operating system that this process runs on."""

from __future__ import annotations

import os

from mount.process.control.base import Control


def _chosen() -> Control:
    if os.name == "nt":
        from mount.process.control.windows import WindowsControl

        return WindowsControl()
    from mount.process.control.posix import PosixControl

    return PosixControl()


CONTROL = _chosen()
