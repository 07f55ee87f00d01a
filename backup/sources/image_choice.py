"""Makes an image's source ready: its device, its names in the point, and what makes snapshots of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from backup.request import Request
from backup.selection import Selection
from backup.snapshot.this import barred, providers
from backup.sources.wish import wish
from catalog.errors import LocalError, UsageError

if TYPE_CHECKING:  # Unix alone has them
    from backup.sources.image import ImageSource
    from backup.systems.image import ImageSystem


def image_paths(
    image: Path | None, image_of: Path | None, paths: list[Path], *, system_state: bool = False
) -> list[Path]:
    """What `--image` or `--image-of` names; nothing if it is not an image that is saved. Raises UsageError."""
    if image is not None and image_of is not None:
        raise UsageError("--image and --image-of are two ways to name one device", "leave one out")
    found = image or image_of
    if found is None:
        return []
    if paths or system_state:
        raise UsageError("an image is an item of its own", "back up everything else by another command")
    if image_of is not None and not image_of.is_dir():
        raise UsageError(f"{image_of} is no mount point", "name one, or the device with --image")
    return [found]


def image_item(path: Path) -> str:
    """The default name of the item of an image. Raises LocalError, UsageError."""
    from backup.sources.image import device_of, stem_of

    path = Path(os.path.abspath(path))
    return stem_of(device_of(path) if path.is_dir() else path)


def path_of(request: Request) -> Path:
    """The device or file of a request, which may name a mount point. Raises LocalError, UsageError."""
    if os.name == "nt":
        raise UsageError("images of disks can't be taken on Windows", "save files, a volume or the system state")
    if len(request.paths) != 1:
        raise UsageError("an image is of one device", "name one; each device is an item of its own")
    path = Path(os.path.abspath(request.paths[0]))
    if not path.exists():
        raise LocalError(f"{path} does not exist", "check the path, and that the disk is there")
    if not path.is_dir():
        return path
    from backup.sources.image import device_of

    return device_of(path)


@contextmanager
def prepared_image(
    request: Request, state: Path, vault: str = "", own: Iterable[int] = ()
) -> Iterator[tuple[Selection, ImageSystem, ImageSource]]:
    """What an image's backup reads; leaving closes it. Raises LocalError, UsageError.

    `state` is the folder of marks, `vault` the vault's address, `own` the devices (st_dev) of rpdrive's folders.
    """
    path = path_of(request)
    from backup.sources.image import ImageSource, stem_of
    from backup.sources.image_snapshot import DeviceSnapshots
    from backup.systems.image import ImageSystem, names_of

    stem = stem_of(path)
    system = ImageSystem(stem)
    why_not = barred()
    wanted = wish(request, why_not)
    key = hashlib.blake2b(f"{vault}\0{stem}".encode(errors="surrogateescape"), digest_size=16).hexdigest()
    keeps = request.keep_snapshot and not request.dry
    snapshots = DeviceSnapshots(providers(wanted.options), state, why_not, key, keeps=keeps)
    source = ImageSource(
        system,
        path,
        snapshot=wanted.mode,
        crash_like=request.crash_like,
        keeps_unreadable=request.keep_unreadable,
        take=snapshots.take,
        changed=snapshots.changed,
        keep=snapshots.keep,
        freeze=request.freeze,
        own=own,
        dry=request.dry,
    )
    try:
        yield Selection([b"/" + name for name in names_of(stem)]), system, source
    finally:
        source.close()
        snapshots.close()
