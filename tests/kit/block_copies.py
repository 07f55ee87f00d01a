"""A provider of block device snapshots where there is no LVM: a copy of a loop device's file, while it is frozen.

What is opened is what a snapshot of LVM would be: another device with the same contents, whose journal is dirty
where the file system leaves it so, and with the same UUID as the original, which stays mounted.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from pathlib import Path

from backup.snapshot import block
from backup.snapshot.base import OTHER, Found, Mark, Snapshot, Volume, tag_in
from catalog.errors import SnapshotLost
from tests.kit.disks import run

_FREEZE, _THAW = 0xC0045877, 0xC0045878  # FIFREEZE, FITHAW


class Copies:
    """Provider. `folder` holds the copies; `live` leaves the file system unfrozen, as after a power failure."""

    name = "copies"

    def __init__(self, folder: Path, *, live: bool = False, read_only: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.live, self.read_only = folder, live, read_only
        self.fails = ""

    def takes(self, volume: Volume) -> str:
        return "" if volume.source.startswith(b"/dev/loop") else OTHER

    def within(self, volume: Volume) -> list[Volume]:
        return []

    def make(self, volumes: list[Volume], mark: Mark) -> list[Snapshot]:
        made: list[Snapshot] = []
        for volume in volumes:
            name = f"{volume.source.decode().rpartition('/')[2]}-{mark.tag}"
            mark.note(self.name, name)
            made.append(Copy(self, volume, name, mark))
        return made

    def found(self) -> list[Found]:
        return [Found(self.name, name, tag_in(name)) for name in sorted(os.listdir(self.folder))]

    def reaches(self, name: str) -> bool:
        return True

    def remove(self, found: Found) -> None:
        image = self.folder / found.name
        for line in run("losetup", "--associated", image, "--output", "NAME", "--noheadings").split():
            subprocess.run(["losetup", "--detach", line], check=False)
        image.unlink(missing_ok=True)


class Copy:
    """Snapshot: a loop device with a copy of the original's file."""

    def __init__(self, provider: Copies, volume: Volume, name: str, mark: Mark) -> None:
        self.volume, self.name, self.time = volume, name, time.time_ns()
        self._provider, self._mark, self._device = provider, mark, 0
        self._image = provider.folder / name
        device = volume.source.decode()
        original = run("losetup", "--output", "BACK-FILE", "--noheadings", device)
        place = os.open(volume.place, os.O_RDONLY)
        try:
            if provider.live:
                os.sync()
            else:
                fcntl.ioctl(place, _FREEZE, 0)
            run("cp", "--sparse=always", original, self._image)
        finally:
            if not provider.live:
                fcntl.ioctl(place, _THAW, 0)
            os.close(place)
        options = ["--read-only"] if provider.read_only else []
        self._loop = Path(run("losetup", "--find", "--show", *options, self._image))

    @property
    def device(self) -> int:
        return self._device

    def open(self) -> int:
        opened = block.opened(self._loop, self.volume)
        self._device = os.fstat(opened).st_dev
        return opened

    def block_device(self) -> Path | None:
        return self._loop

    def check(self) -> None:
        if self._provider.fails:
            raise SnapshotLost(self._provider.fails)

    def remove(self) -> None:
        self._provider.remove(Found(self._provider.name, self.name, self._mark.tag))
        self._mark.forget(self._provider.name, self.name)
