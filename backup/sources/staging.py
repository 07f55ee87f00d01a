"""A private folder for what a backup makes before it saves it. It is removed at the end, or at the next start.

Each folder has a lock file beside it, which its process holds locked while it lives. So what a killed process left
behind is told from what another one needs, whatever process ids say.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from catalog.access.settings import private_folder
from catalog.errors import LocalError

_FOLDER = "staging"  # in the state folder
_LOCK = ".lock"


class Staging:
    """A new folder below the state folder. `lock` locks a file until it is closed, or raises OSError."""

    def __init__(self, state: Path, lock: Callable[[int], None]) -> None:
        home = private_folder(state / _FOLDER)
        self.path = home / secrets.token_hex(8)
        self._lock = home / (self.path.name + _LOCK)
        try:
            self._descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                lock(self._descriptor)
                self.path.mkdir(mode=0o700)
            except BaseException:
                os.close(self._descriptor)
                raise
        except OSError as e:
            raise LocalError(
                f"the staging folder {self.path} can't be made: {e.strerror}",
                "check the permissions of the state folder and the free space there",
            ) from e

    def close(self) -> None:
        """Remove the folder. Raises nothing."""
        if self._descriptor >= 0:
            _remove(self.path, self._lock)
            os.close(self._descriptor)
            self._descriptor = -1


def remove_left_behind(state: Path, lock: Callable[[int], None]) -> None:
    """Remove the folders of processes that were killed. Raises nothing."""
    home = state / _FOLDER
    try:
        names = sorted(os.listdir(home))
    except OSError:
        return
    for name in names:
        path = home / name.removesuffix(_LOCK)
        with suppress(OSError):
            if not name.endswith(_LOCK):
                if name + _LOCK not in names:
                    shutil.rmtree(path, ignore_errors=True)
                continue
            descriptor = os.open(home / name, os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
            try:
                lock(descriptor)  # raises if its process lives
                _remove(path, home / name)
            finally:
                os.close(descriptor)


def _remove(path: Path, lock: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    if not path.exists():
        with suppress(OSError):
            lock.unlink()
