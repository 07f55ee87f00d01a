"""The identity of a volume on Windows, as GetVolumeInformation tells it."""

from __future__ import annotations

import os
from collections.abc import Container
from contextlib import suppress

from catalog.errors import LocalError
from catalog.format.records import Volume
from catalog.windows import api as w


def drives_of_rpdrive(api: w.Api) -> set[bytes]:
    """The drives of rpdrive that are open, as paths of points."""
    found = set()
    for letter in api.drives():
        with suppress(OSError):  # no disk in the drive
            if "rpdrive" in api.file_system(f"{letter}:\\")[0].lower():
                found.add(b"/" + letter.encode())
    return found


def volume_at(api: w.Api, place: bytes, unwanted: Container[bytes]) -> Volume:
    """The volume at a path as points have it, e.g. `/D`. Raises LocalError if it is none whose files are saved."""
    letter = os.fsdecode(place[1:2])
    if len(place) != 2:
        raise LocalError(f"{os.fsdecode(place)} is a folder of the drive {letter}:", f"give --volume {letter}:")
    root = f"{letter}:\\"
    if place in unwanted:
        raise LocalError(f"{root} is a drive of rpdrive", "give another one")
    try:
        found, (free, size) = api.volume(root), api.room(root)
    except OSError as e:
        raise LocalError(f"{root} can't be read: {e.strerror}", "check that there is a disk in it") from e
    return Volume(
        place=place, file_system=found.file_system, label=found.label, source=root, size=size, used=size - free,
        uuid=f"{found.serial >> 16:04X}-{found.serial & 0xFFFF:04X}",
    )  # fmt: skip
