"""Old devices and what they are called on this machine: pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from catalog.inventory.values import Disk, Partition

NONE = "none"  # for `--disk OLD=none`
_LINK = re.compile(r"/dev/disk/by-(?:id|path|diskseq)/")


@dataclass(frozen=True)
class Target:
    """A disk of this machine. `size` and `sector` in bytes; `in_use` says by what, `holds` what is on it."""

    path: str
    size: int
    sector: int = 512
    in_use: str = ""
    holds: str = ""


class Names:
    """The new name of each old device: those of disks and partitions change, all others keep theirs."""

    def __init__(self, disks: list[Disk], targets: dict[str, Target]) -> None:
        self._new: dict[str, str] = {}
        for disk in disks:
            new = targets[disk.device].path
            self._new[disk.device] = new
            for partition in disk.partitions:
                self._new[partition.device] = partition_name(new, partition)

    def new(self, device: str) -> str:
        return self._new.get(device, device)


def partition_name(disk: str, partition: Partition) -> str:
    """What the kernel, or udev for a name below /dev/disk, calls a partition of a disk."""
    if _LINK.match(disk):
        return f"{disk}-part{partition.number}"
    return f"{disk}{'p' if disk[-1].isdigit() else ''}{partition.number}"
