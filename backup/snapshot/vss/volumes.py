"""The volumes of Windows, as snapshots and points know them."""

from __future__ import annotations

import re
from contextlib import suppress

from backup.snapshot.base import Volume
from catalog.format.records import Volume as PointVolume
from catalog.windows.api import Api

_TYPES = {2: "removable", 3: "fixed", 4: "network", 5: "optical", 6: "memory"}  # of GetDriveType
_SHADOWED = ("NTFS", "REFS", "CSVFS")
_DEVICE = re.compile(r"\\\\\?\\GLOBALROOT\\Device\\[A-Za-z0-9_.-]{1,100}")


def letter_of(path: bytes) -> str:
    """The drive letter of a path of a point; empty for the folder of all drives."""
    return path.strip(b"/").split(b"/")[0].decode(errors="replace").upper()


def volume_of(api: Api, letter: str) -> Volume:
    """The volume of a drive letter, whose `source` is the volume's own name. Raises OSError."""
    root = f"{letter}:\\"
    facts = api.volume(root)
    kind = _TYPES.get(api.drive_type(root), "unknown")
    name = root
    with suppress(OSError):  # a network drive has none
        name = api.volume_name(root)
    return Volume(
        place=b"/" + letter.encode(), device=facts.serial, file_system=facts.file_system, source=name.encode(),
        root=b"/", options=kind,
    )  # fmt: skip


def why_not(volume: Volume) -> str:
    """Why there can be no shadow copy of a volume; empty if there can be one."""
    if volume.options == "network":
        return "it is a network drive: back it up on the computer that has the disk"
    if volume.options not in ("fixed", "removable"):
        return f"it is no local disk ({volume.options})"
    if volume.file_system.upper() not in _SHADOWED:
        return f"{volume.file_system or 'its file system'} has no shadow copies, only NTFS and ReFS have"
    return ""


def recorded(api: Api, volume: Volume, snapshot: str, time: int) -> PointVolume:
    """What a point says of a volume. `snapshot` and `time` as in its record."""
    letter = letter_of(volume.place)
    label, used, size = "", 0, 0
    with suppress(OSError):
        label = api.volume(f"{letter}:\\").label
        free, size = api.room(f"{letter}:\\")
        used = max(size - free, 0)
    serial = f"{volume.device >> 16:04X}-{volume.device & 0xFFFF:04X}"  # as `vol` shows it
    return PointVolume(
        place=volume.place, file_system=volume.file_system, uuid=serial, label=label, source=volume.source.decode(),
        options=volume.options, size=size, used=used, snapshot=snapshot, time=time,
    )  # fmt: skip


def is_device(path: str) -> bool:
    """Whether a path is that of a shadow copy's device object, and nothing else."""
    return _DEVICE.fullmatch(path) is not None
