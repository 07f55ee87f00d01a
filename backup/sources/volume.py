"""A volume: one file system, all of it, with its identity in the point."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from backup.request import Request, resolved
from backup.snapshot import base
from backup.sources.base import Begun, Source
from backup.systems.base import System
from catalog.errors import SnapshotFailed, UsageError
from catalog.format.records import ItemKind, Volume
from catalog.mountinfo import is_within, mount_of, mounts

Inner = Callable[[base.Volume], list[base.Volume]]


class VolumeFiles:
    """The files of one file system, as `files` makes them ready. `volume` is its identity on this machine.

    `why_live` says for people why no snapshot is made; `within` finds the subvolumes of a volume that is read live.
    """

    kind = ItemKind.VOLUME

    def __init__(
        self, volume: Volume, files: Source, *, why_live: list[str] | None = None, within: Inner | None = None
    ) -> None:
        self._volume, self._files, self._why, self._within = volume, files, why_live or [], within
        self._begun: Begun | None = None
        self._handles: list[int] = []

    def begin(self) -> Begun:
        if self._begun is None:
            self._begun = self._begin(self._files.begin())
        return self._begun

    def _begin(self, begun: Begun) -> Begun:
        place = self._volume.place
        own = next((volume for volume in begun.volumes if volume.place == place), Volume(place=place))
        others = [volume for volume in begun.volumes if volume.place != place]
        inner, notes, problems = own.subvolumes, begun.notes, list(begun.problems)
        if not own.snapshot:
            self._uncover(begun)
            inner = self._open_subvolumes(begun, problems)
            if not begun.problems and not notes:
                notes = [*(self._why or ["no snapshot was wanted"])]
            notes = [f"{note}; its files were read while they are in use" for note in notes]
        known = replace(self._volume, subvolumes=inner, snapshot=own.snapshot, time=own.time)
        return replace(begun, volumes=[known, *others], notes=notes, problems=problems)

    def _uncover(self, begun: Begun) -> None:
        """Have a volume stand for itself without what is mounted on it, as a snapshot would show it."""
        place = self._volume.place
        with suppress(OSError):  # there is no table, or this is not allowed: what lies under mounts is left out
            if any(mount.place != place and is_within(mount.place, place) for mount in mounts()):
                from backup.snapshot.mounting import bare

                self._handles.append(bare(place))
                begun.top.at(place).handle = self._handles[-1]

    def _open_subvolumes(self, begun: Begun, problems: list[str]) -> list[bytes]:
        """Have subvolumes stand for themselves, so that the walk enters them. Their paths from the volume."""
        place, found = self._volume.place, list[bytes]()
        mount = mount_of(place)
        if self._within is None or mount is None:
            return []
        whole = base.Volume(place, 0, mount.file_system, mount.source, mount.root, mount.options)
        try:
            subvolumes = self._within(whole)
        except SnapshotFailed as e:
            problems.append(f"{e}; files in them are not saved")
            return []
        for inner in subvolumes:
            there = mount_of(inner.place)
            if there is None or there.place != place:
                continue  # another file system hides it
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                self._handles.append(os.open(inner.place, flags))
            except FileNotFoundError:
                continue
            except OSError as e:
                problems.append(
                    f"the subvolume {os.fsdecode(inner.place)} can't be opened, and is not saved: {e.strerror}"
                )
                continue
            begun.top.at(inner.place).handle = self._handles[-1]
            found.append(inner.place[len(place.rstrip(b"/")) + 1 :])
        return sorted(found)

    def check(self, *, final: bool = False) -> None:
        self._files.check(final=final)

    def close(self) -> None:
        while self._handles:
            os.close(self._handles.pop())
        self._files.close()


def volume_of(request: Request, system: System[Any, Any, Any]) -> Volume:
    """The volume that a request names. Raises UsageError if it names more than one; LocalError if it is none."""
    if len(request.paths) != 1:
        raise UsageError("an item has one volume", "give --volume once; make an item of each further volume")
    (path,) = request.paths
    if not system.paths_are_native and len(str(path)) == 2 and str(path).endswith(":"):
        path = Path(f"{path}\\")  # `D:` alone is the current folder of that drive
    return system.volume(resolved(path))
