"""Snapshots for an image: of the logical volume that a file system is mounted from, with its journal replayed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from backup.snapshot.base import OTHER, Provider, Snapshot, Volume
from backup.snapshot.kept import KeptSnapshot
from backup.snapshot.marks import JobMark, clean
from backup.snapshot.plan import Mounts
from backup.systems.image import PIECE
from catalog.disks.devices import Use
from catalog.errors import LocalError, SnapshotFailed
from catalog.mountinfo import mounts

_log = logging.getLogger("rpdrive.snapshot")
_NO_DEVICE = {"btrfs", "zfs"}  # their snapshots are folders


class DeviceSnapshots:
    """Makes the snapshot of one job. `barred` is why this process can make none.

    With `keeps`, a thin snapshot stays until the next run, which then reads only what has changed since; without
    it, one that an earlier run kept is removed. `key` is of this image and vault.
    """

    def __init__(
        self, providers: Sequence[Provider], state: Path, barred: str, key: str = "", *, keeps: bool = False
    ) -> None:
        self._providers, self._state, self._barred, self._keeps = providers, state, barred, keeps
        self.mark = JobMark(state)
        self._kept = KeptSnapshot(state, key)

    def changed(self, snapshot: Snapshot, since: int) -> Iterator[tuple[int, int]] | None:
        """The ranges in which a snapshot differs from the kept one of a time (ns); None if that isn't known."""
        if not self._keeps:
            return None
        try:
            ranges = self._kept.changed(snapshot, since, PIECE)
        except SnapshotFailed as e:
            _log.info("all of the image is read: %s", e)
            return None
        return iter([(offset, offset + length) for offset, length in ranges])

    def keep(self, snapshot: Snapshot) -> bool:
        """Keep a snapshot for the next run, if that is wanted. False if it is to be removed."""
        try:
            if self._keeps:
                self._kept.keep(snapshot)
                return True
            self._kept.drop()
        except LocalError as e:
            _log.warning("%s", e)
        return False

    def take(self, use: Use) -> Snapshot | str:
        """A snapshot of the device that is mounted as `use` says, or why there can be none, in a phrase.

        Its file system was mounted once, so that its journal is replayed: it is as after an unmount. Raises
        SnapshotFailed if it can't be made though it should be possible.
        """
        if self._barred:
            return self._barred
        if use.file_system in _NO_DEVICE:
            return f"snapshots of {use.file_system} are of its files; save those instead (--volume)"
        mount = Mounts(mounts()).of(use.place)
        if mount is None:
            return "this system doesn't say where it is mounted"
        clean(self._state, self._providers)
        volume = Volume(
            mount.place, os.stat(mount.place).st_dev, mount.file_system, mount.source, mount.root, mount.options,
            number=mount.device,
        )  # fmt: skip
        reasons = []
        for provider in self._providers:
            reason = provider.takes(volume)
            if not reason:
                return self._made(provider, volume)
            if reason != OTHER:
                reasons.append(reason)
        return "; ".join(reasons) or "it is on no logical volume, and nothing else has snapshots of devices"

    def _made(self, provider: Provider, volume: Volume) -> Snapshot:
        (snapshot,) = provider.make([volume], self.mark)
        try:
            os.close(snapshot.open())
        except BaseException:
            with suppress(SnapshotFailed):  # what is noted goes at the next start
                snapshot.remove()
            raise
        return snapshot

    def close(self) -> None:
        """End the job."""
        self.mark.close()
