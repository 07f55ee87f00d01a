"""Reading files by which the administrator of this machine tells rpdrive what to do.

What such a file says is done with this user's rights. So it must be out of reach of other users.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from catalog.errors import LocalError
from catalog.systems.this import SYSTEM


def read_trusted(path: Path, limit: int, *, secret: bool = False) -> bytes | None:
    """The contents of a file that only this user or root may change; None if it is missing.

    With `secret`, nobody else may read it either. Raises LocalError if others may, if it is no file or has
    more than `limit` bytes, or if it can't be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        return None
    except OSError as e:
        raise LocalError(f"{path} can't be read: {e.strerror}", "check its permissions") from e
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise LocalError(f"{path} is not a file", "check what it is")
        if not SYSTEM.is_trusted(status):
            raise LocalError(
                f"{path} may be changed by other users, so it is not used",
                "make it belong to this user or root, and run `chmod go-w` on it",
            )
        if secret and not SYSTEM.is_private(status):
            raise LocalError(f"{path} holds secrets and may be read by other users", "run `chmod 600` on it")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError as e:
        raise LocalError(f"{path} can't be read: {e.strerror}", "check what it is") from e
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise LocalError(f"{path} is longer than {limit:,} bytes", "check what it is")
    return data
