"""The interface to what makes snapshots: one Provider for btrfs, LVM, ZFS and others.

A provider makes a snapshot of a file system, opens it and removes it. Which file systems need one is decided in
plan.py, and which provider gets which in taking.py. Whatever a provider makes carries the mark of its job, and the
mark's file (marks.py) names it before it exists, so that the next start can remove what a killed job left behind,
and nothing else.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

import msgspec

TIMEOUT = 120.0  # s for making the snapshots of a job
SHARE = 0.1  # of the volume: room for a snapshot that has to have its size told
OTHER = "it is of another kind"  # what a provider says of volumes that are none of its business
_TAG = re.compile(r"rpdrive-[0-9a-f]{32}")
# A subvolume of btrfs that is a snapshot of ours.
_SUBVOLUME = re.compile(rb"\.rpdrive-[0-9a-f]{32}-[0-9]+")
_SUBVOLUME_ROOTS = (256, 2)  # inodes of a subvolume's root folder, and of its empty stand-in in a snapshot


class Volume(msgspec.Struct, frozen=True):
    """A mounted file system, or the part of one that is mounted. `device` is the st_dev of its live files.

    `place` is where it is mounted; `root` is the path within the file system that is mounted there, e.g. `/@home`
    of a btrfs subvolume, or `/data` of a bind mount. `source` is the device or dataset, as in mountinfo.
    """

    place: bytes
    device: int
    file_system: str
    source: bytes
    root: bytes
    options: str
    number: str = ""  # of the block device as in mountinfo, e.g. "253:0": /sys/dev/block/253:0 tells more


class Options(msgspec.Struct, frozen=True):
    """What users say. `size` is the room (bytes) for a snapshot that needs to be told; 0: `share` of the volume."""

    size: int = 0
    share: float = SHARE
    timeout: float = TIMEOUT  # s; a provider that waits for longer raises SnapshotFailed


class Found(msgspec.Struct, frozen=True):
    """A snapshot that carries a mark of rpdrive. `name` is unique for the provider, and as it was noted.

    `source` says for people what it is a snapshot of; `time` is when it was made (ns, UTC; 0: unknown); `size` is
    the room that it takes (bytes; 0: unknown).
    """

    provider: str
    name: str
    tag: str
    source: str = ""
    time: int = 0
    size: int = 0


class Mark(Protocol):
    """The mark of one job, which its snapshots carry, and the file that names them."""

    @property
    def tag(self) -> str:
        """`rpdrive-` and 32 hexadecimal digits, new for each job: part of a name, an LV tag, a property's value."""

    def note(self, provider: str, *names: str) -> None:
        """Save that snapshots of these names are about to be made. On disk when this returns. Raises LocalError."""

    def forget(self, provider: str, name: str) -> None:
        """Save that it is gone, or was not made. No effect if it was not noted."""


class Snapshot(Protocol):
    """One snapshot, until it is removed."""

    volume: Volume
    name: str  # as it was noted
    time: int  # ns, UTC; from before it was made: what changed earlier is in it

    @property
    def device(self) -> int:
        """The st_dev of its files. To be asked for once it is open."""

    def open(self) -> int:
        """A new descriptor of the folder that was at the volume's place. Raises SnapshotFailed.

        Read-only, nosuid, nodev, noexec, and in no table of mounts; it ends with this process.
        """

    def block_device(self) -> Path | None:
        """The device with the contents of the snapshot; None if it is none of a block device."""

    def check(self) -> None:
        """Raise SnapshotLost if what was read from it since it was made can't be trusted."""

    def remove(self) -> None:
        """Remove it, and forget it in the mark. No effect the second time. Raises SnapshotFailed."""


class Provider(Protocol):
    """What makes snapshots of one kind."""

    name: str  # e.g. "btrfs": recorded with volumes and marks

    def takes(self, volume: Volume) -> str:
        """Why it can't make a snapshot of a volume; empty if it can. No effect on the system.

        A reason is a phrase that follows "no snapshot of /srv: ", e.g. "the volume group vg0 has no room".
        For a kind of volume that the provider has nothing to do with, it is OTHER.
        """

    def within(self, volume: Volume) -> list[Volume]:
        """The file systems in a volume that a snapshot of it leaves out, though no mounts: btrfs subvolumes.

        Those in each other, too, in any order; empty for others.
        """

    def make(self, volumes: list[Volume], mark: Mark) -> list[Snapshot]:
        """A snapshot of each volume, in this order, at one instant if it can. All, or none: raises SnapshotFailed.

        The mark knows the name of each before it is made. Volumes of one device may share what is made.
        """

    def found(self) -> list[Found]:
        """All snapshots on this system that carry a mark of rpdrive, of whatever job. Raises SnapshotFailed."""

    def reaches(self, name: str) -> bool:
        """Whether `found` would show a snapshot of this name if there were one, i.e. its disk is attached."""

    def remove(self, found: Found) -> None:
        """Remove a snapshot. No effect if it is gone. Raises SnapshotFailed."""


def tag_in(text: str) -> str:
    """The mark in a name, tag or property: `rpdrive-` and 32 hexadecimal digits, or empty if there is none."""
    match = _TAG.search(text)
    return match[0] if match is not None else ""


def is_subvolume_name(name: bytes) -> bool:
    """Whether a snapshot of ours could have this name in a btrfs file system."""
    return _SUBVOLUME.fullmatch(name) is not None


def is_own_subvolume(name: bytes, inode: int) -> bool:
    """Whether a folder looks like a snapshot of ours in a btrfs file system: no backup saves one."""
    return inode in _SUBVOLUME_ROOTS and is_subvolume_name(name)
