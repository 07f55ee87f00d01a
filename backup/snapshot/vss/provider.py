"""Shadow copies by the Volume Shadow Copy Service: all volumes of a backup in one set, held by a helper process."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from backup.snapshot.base import Found, Mark, Options, Snapshot, Volume
from backup.snapshot.vss.client import Helper, writer_words
from backup.snapshot.vss.volumes import is_device, letter_of, why_not
from catalog.errors import SnapshotFailed, SnapshotLost
from catalog.windows.api import BACKUP_PRIVILEGE, Api

NO_RIGHT = (
    "this needs the right to back up: run rpdrive in a prompt opened with 'Run as administrator', or as SYSTEM"
)
NOT_64 = "this needs the 64-bit Python of this processor: the service answers no other program"


def rights(api: Api) -> str:
    """Why this process may make no shadow copies; empty if it may."""
    if sys.maxsize <= 1 << 32 or "PROCESSOR_ARCHITEW6432" in os.environ:
        return NOT_64
    try:
        may = bool(api.take_privileges((BACKUP_PRIVILEGE,)))
    except OSError:
        may = False
    return "" if may else NO_RIGHT


class Vss:
    """The Provider `vss`. Its shadow copies end with the helper process, so nothing is ever left behind.

    `problems` are writers that failed: what they guard is as after a power failure.
    """

    name = "vss"

    def __init__(self, api: Api, options: Options | None = None, start: Callable[[], Helper] = Helper) -> None:
        self._api, self._options, self._start = api, options or Options(), start
        self.problems: list[str] = []

    def takes(self, volume: Volume) -> str:
        """See Provider."""
        return why_not(volume) or rights(self._api)

    def within(self, volume: Volume) -> list[Volume]:
        """See Provider."""
        return []

    def make(self, volumes: list[Volume], mark: Mark) -> list[Snapshot]:
        """See Provider: one set, and so one instant."""
        helper = self._start()
        names = [f"{helper.pid}-{letter_of(volume.place)}" for volume in volumes]
        before = time.time_ns()
        try:
            for name in names:
                mark.note(self.name, name)
            made = helper.make([volume.source.decode() for volume in volumes], self._options.timeout)
            if not all(is_device(shadow.device) for shadow in made):
                raise SnapshotFailed("Windows named a shadow copy in an unknown way", "please report it")
        except BaseException:
            helper.kill()
            for name in names:
                mark.forget(self.name, name)
            raise
        self.problems = [writer_words(writer) for writer in helper.writers]
        held = _Held(helper, len(volumes))
        rows = zip(volumes, names, made, strict=True)
        return [Shadow(v, name, before, found.device, held, self.name, mark) for v, name, found in rows]

    def found(self) -> list[Found]:
        """See Provider: there are none, as a set ends with its process."""
        return []

    def reaches(self, name: str) -> bool:
        """See Provider."""
        return True

    def remove(self, found: Found) -> None:
        """See Provider."""


class _Held:
    """The helper process that holds a set, and how many of its shadow copies are still in use."""

    def __init__(self, helper: Helper, count: int) -> None:
        self.helper, self.count = helper, count

    def check(self) -> None:
        self.helper.check()

    def drop(self) -> None:
        self.count -= 1
        if self.count == 0:
            self.helper.finish()


class Holder(Protocol):
    """What keeps a shadow copy."""

    def check(self) -> None:
        """Raise SnapshotLost if it is gone."""

    def drop(self) -> None:
        """One of its shadow copies is no longer used. Raises SnapshotFailed."""


class Shadow:
    """A shadow copy, by whatever provider. Read by its `path`, not by a descriptor: WindowsSystem opens that."""

    def __init__(
        self, volume: Volume, name: str, time: int, path: str, held: Holder, provider: str, mark: Mark
    ) -> None:  # fmt: skip
        self.volume, self.name, self.time, self.path = volume, name, time, path
        self._held, self._provider, self._mark = held, provider, mark
        self._removed = False

    @property
    def device(self) -> int:
        """See Snapshot: the serial number of the volume, which its shadow copy has too."""
        return self.volume.device

    def open(self) -> int:
        """Never called: Windows has no descriptors of folders."""
        raise SnapshotFailed(f"a shadow copy is opened by its path {self.path}", "please report it")

    def block_device(self) -> Path | None:
        """See Snapshot."""
        return None

    def check(self) -> None:
        """See Snapshot."""
        if self._removed:
            raise SnapshotLost(f"the shadow copy of {letter_of(self.volume.place)}: was removed already")
        self._held.check()

    def remove(self) -> None:
        """See Snapshot."""
        if self._removed:
            return
        self._removed = True
        self._held.drop()
        self._mark.forget(self._provider, self.name)
