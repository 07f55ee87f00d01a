"""Real file systems on loop devices, each mounted in a folder of a test, and gone at its end. They need root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZES = {"btrfs": 128 << 20, "xfs": 320 << 20, "ext4": 64 << 20}  # bytes; the files are sparse
MAKERS = {"btrfs": "mkfs.btrfs", "xfs": "mkfs.xfs", "ext4": "mkfs.ext4"}


@contextmanager
def mounted(
    folder: Path,
    kind: str,
    size: int = 0,
    *,
    options: str = "",
    make: tuple[str, ...] = (),
    image: Path | None = None,
) -> Iterator[Path]:
    """The folder that a new file system of a kind (and of `size` bytes) is mounted on.

    `options` are those of the mount, `make` further ones of mkfs, `image` the file of the device.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image, place = (image or folder.with_name(f"{folder.name}.img")), folder
    with image.open("wb") as file:
        file.truncate(size or SIZES[kind])
    _run(MAKERS[kind], *(["-q"] if kind in ("xfs", "ext4", "btrfs") else []), *make, image)
    try:
        _run("mount", "-o", ",".join(["loop", *([options] if options else [])]), image, place)
        try:
            yield place
        finally:
            _run("umount", place)
    finally:
        image.unlink()


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
