"""Which file systems of a machine the vault holds: what a bare-metal rebuild would still need."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from catalog.format.records import ItemKind, Point
from catalog.inventory.stored import PointFiles
from catalog.inventory.values import Mounted
from catalog.vault import Vault

# Places without which a machine doesn't boot, or isn't the same; others hold data.
_NEEDED = ("/boot", "/efi", "/etc", "/opt", "/root", "/usr", "/var", "/bin", "/sbin", "/lib", "/lib64")
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "9p", "virtiofs")


class Holding(NamedTuple):
    """A file system of a machine, and the newest point that has its files. `why_not` says what is wrong with it."""

    place: str
    device: str
    type: str
    is_needed: bool
    point: Point | None
    remark: str = ""

    @property
    def is_missing(self) -> bool:
        return self.is_needed and self.point is None


def is_needed(place: str) -> bool:
    """Whether a rebuilt machine needs what is mounted at a place."""
    return place == "/" or any(place == top or place.startswith(top + "/") for top in _NEEDED)


def holdings(vault: Vault, mounts: Iterable[Mounted], points: Sequence[Point]) -> list[Holding]:
    """For each local file system, the best of the newest points of a machine's items. Raises StoreError."""
    found: list[Holding] = []
    files = {point.id: PointFiles(vault, point) for point in points}
    for mount in mounts:
        if mount.type in _NETWORK or (mount.root != "/" and mount.type != "btrfs"):
            continue  # a bind mount shows what another place has
        path = os.fsencode(mount.place)
        with_it = [point for point in points if _holds(files[point.id], point, path, mount.device)]
        best = max(with_it, key=lambda p: _rank(p, path), default=None)
        remark = ""
        if best is not None and best.excludes and best.kind != ItemKind.SYSTEM:
            remark = "rules left something out"
        if best is not None and best.kind == ItemKind.SYSTEM:
            remark = "with the system state"
        found.append(Holding(mount.place, mount.device, mount.type, is_needed(mount.place), best, remark))
    return found


def _rank(point: Point, path: bytes) -> tuple[bool, bool, bool, int]:
    """A volume or an image of just this place is best, then what leaves nothing out, then what is newest."""
    exact = point.kind in (ItemKind.VOLUME, ItemKind.IMAGE) and any(v.place == path for v in point.volumes)
    return exact, point.kind != ItemKind.SYSTEM, not point.excludes, point.time


def _holds(files: PointFiles, point: Point, path: bytes, device: str) -> bool:
    """Whether a point has what is mounted at a path: it was asked for, and is there, and is not empty."""
    if point.kind == ItemKind.IMAGE:
        return any(volume.place == path or _is_on(device, volume.source) for volume in point.volumes)
    return files.has_files(path)


def _is_on(device: str, source: str) -> bool:
    """Whether a device is the source of an image, by any of its names, or a partition of it."""
    if not source.startswith("/dev/"):
        return False
    real, whole = os.path.realpath(device), os.path.realpath(source)
    return (
        real == whole
        or re.fullmatch(re.escape(whole) + ("p" if whole[-1].isdigit() else "") + r"\d+", real) is not None
    )
