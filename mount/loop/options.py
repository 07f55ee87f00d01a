"""How each file system of an image is mounted, so that nothing is ever replayed into it. Pure."""

from __future__ import annotations

from typing import NamedTuple

from catalog.disks.probe import DIRTY, Contents


class Way(NamedTuple):
    """A way to mount: the kernel's name of the file system, and options beside `ro`.

    `skips_journal`: what the journal holds is not shown.
    """

    type: str
    options: str
    skips_journal: bool = False


_EXT = ("ext2", "ext3", "ext4")
_PLAIN = {"vfat": "vfat", "exfat": "exfat", "iso9660": "iso9660", "squashfs": "squashfs", "erofs": "erofs"}


def ways(contents: Contents, *, without_journal: bool) -> list[Way]:
    """The ways to try, in order; none if the file system must be repaired first, or isn't one.

    xfs doesn't show by its first bytes whether its journal is empty: the kernel refuses it if not.
    """
    kind, dirty = contents.kind, contents.state == DIRTY
    if kind in _EXT:
        if not dirty:
            return [Way("ext4", "")]
        return [Way("ext4", "noload", skips_journal=True)] if without_journal else []
    if kind == "xfs":
        plain = [Way("xfs", "nouuid")]
        return [*plain, Way("xfs", "norecovery,nouuid", skips_journal=True)] if without_journal else plain
    if kind == "btrfs":
        if not dirty:
            return [Way("btrfs", "")]
        return [Way("btrfs", "rescue=nologreplay", skips_journal=True)] if without_journal else []
    if kind == "ntfs":
        return [Way("ntfs3", "")]
    return [Way(_PLAIN[kind], "")] if kind in _PLAIN else []
