"""Opening the snapshot of a block device: the file system on it, as a descriptor that no table of mounts shows.

A snapshot is taken of a file system in use, so that its journal has to be replayed: with the option `ro` the kernel
does this if the device can be written, and the snapshot takes what it writes. Never by `noload` or `norecovery`:
files that were on disk would be missing, without a word.
"""

from __future__ import annotations

import os
from pathlib import Path

from backup.snapshot.base import Volume
from backup.snapshot.mounting import failed, folder_below, mounted
from catalog.errors import SnapshotFailed

_EXT = {
    "errors": "remount-ro"
}  # whatever its superblock asks for: a snapshot that is full must not stop the machine
_OPTIONS = {"xfs": {"nouuid": ""}, "ext2": _EXT, "ext3": _EXT, "ext4": _EXT}
_BY_ID = {"btrfs", "bcachefs", "zfs_member"}  # they take a copy of a device for the device itself


def opened(device: Path, volume: Volume) -> int:
    """A descriptor of the folder `volume.root` on a device that has the contents of the volume's.

    Read-only, nosuid, nodev, noexec; the file system is unmounted when it is closed, and all that was opened below
    it. Raises SnapshotFailed.
    """
    where = os.fsdecode(volume.place)
    if volume.file_system in _BY_ID:
        raise SnapshotFailed(f"the snapshot of {where} can't be opened: {volume.file_system} would confuse the two")
    options = _OPTIONS.get(volume.file_system, {})
    try:
        top = mounted(os.fsencode(device), volume.file_system, options, read_only=True)
        try:
            return folder_below(top, volume.root)
        finally:
            os.close(top)
    except OSError as e:
        raise failed(f"the snapshot of {where} can't be opened", e) from e
