"""Files of a page's process, named by the vault's address: its lock, and where it takes orders."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from catalog.access.settings import Settings, private_folder
from catalog.errors import LocalError
from catalog.systems.this import SYSTEM

_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class PageLock:
    """Held by the process that serves the page of a vault. The system lets go of it when the process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PageFiles:
    """The files of one vault's page. Folders are created on demand; raises LocalError if that fails."""

    def __init__(self, settings: Settings, address: str) -> None:
        self._settings = settings
        self._key = hashlib.sha256(address.encode()).hexdigest()[:16]

    def lock(self) -> PageLock | None:
        """The lock; None if another process has it. Raises LocalError."""
        path = self._folder / f"{self._key}.lock"
        try:
            descriptor = os.open(path, _OPEN, 0o600)
            try:
                if SYSTEM.try_lock(descriptor):
                    return PageLock(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as e:
            raise LocalError(f"{path} can't be locked: {e.strerror}", "check its disk and its permissions") from e
        os.close(descriptor)
        return None

    @property
    def _folder(self) -> Path:
        return private_folder(self._settings.state / "browse")

    @property
    def orders(self) -> Path:
        """The socket, or the file that names the pipe, at which the process takes orders."""
        return self._settings.run / f"browse-{self._key}.sock"

    @property
    def redirect(self) -> Path:
        """The file that leads a browser to the page."""
        return self._settings.run / f"browse-{self._key}.html"

    @property
    def certificates(self) -> Path:
        """The folder of certificates."""
        return self._folder / "certificates"
