"""Who changes something, as records name it for people."""

from __future__ import annotations

import getpass
import platform

_LONGEST = 200  # characters


def who() -> str:
    """The user and the machine that this process runs as, at most 200 characters."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"{user} at {platform.node()}".encode(errors="replace").decode()[:_LONGEST]
