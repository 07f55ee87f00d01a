"""A lock on a mount point, held while a drive is being mounted there, so that no two drives are."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from catalog.errors import LocalError
from catalog.systems.this import SYSTEM

_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class PlaceLock:
    """A file that is locked, and gone once the lock is released."""

    def __init__(self, path: Path) -> None:
        """Wait for the lock. Raises LocalError."""
        self._path = path
        self._descriptor: int | None = None
        try:
            while self._descriptor is None:
                self._descriptor = self._locked()
        except OSError as e:
            raise LocalError(f"{path} can't be locked: {e.strerror}", "check its disk and its permissions") from e

    def _locked(self) -> int | None:
        """The file's descriptor; None if whoever had the lock removed the file meanwhile."""
        descriptor = os.open(self._path, _OPEN, 0o600)
        try:
            SYSTEM.lock(descriptor)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(self._path)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def release(self) -> None:
        """Let others have the lock. Does nothing if that was done before."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        with suppress(OSError):  # on Windows nobody can remove a file that is open: the next one will lock it
            self._path.unlink()
        os.close(descriptor)
