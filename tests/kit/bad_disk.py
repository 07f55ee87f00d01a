"""Bad sectors below a vault in a folder: reads of some files fail as the system says it, whoever asks."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.store import local
from catalog.systems.this import SYSTEM


class BadDisk:
    """Reads fail that meet the bytes in `bad`, by names of objects; all of them while it is away."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.bad: dict[str, range] = {}
        self.is_away: Callable[[], bool] = lambda: False
        self.failed = 0
        pread, copy = local._pread, SYSTEM.copy_range

        def read(descriptor: int, length: int, offset: int) -> bytes:
            self._meet(descriptor, offset, length)
            return pread(descriptor, length, offset)

        def copied(_system: object, source: int, offset: int, length: int, target: int) -> int:
            self._meet(source, offset, length)
            return copy(source, offset, length, target)

        monkeypatch.setattr(local, "_pread", read)
        monkeypatch.setattr(type(SYSTEM), "copy_range", copied)

    def spoil(self, name: str, start: int = 0, stop: int = 1 << 62) -> None:
        self.bad[name] = range(start, stop)

    def _meet(self, descriptor: int, offset: int, length: int) -> None:
        file = os.readlink(f"/proc/self/fd/{descriptor}")
        if not file.startswith(f"{self.root}/"):
            return
        bad = self.bad.get(file.removeprefix(f"{self.root}/"), range(0))
        if self.is_away() or max(offset, bad.start) < min(offset + length, bad.stop):
            self.failed += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))


__all__ = ["BadDisk"]
