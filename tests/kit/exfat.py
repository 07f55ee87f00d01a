"""A real exFAT file system, by exfat-fuse: equal names, and neither links nor owners nor modes nor attributes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("mkfs.exfat", "mount.exfat-fuse", "losetup")


@contextmanager
def exfat(folder: Path, size: int = 64 << 20) -> Iterator[Path]:
    """The folder that a new file system of `size` bytes is mounted on. Needs root, /dev/fuse and PROGRAMS."""
    image, mounted = folder / "image", folder / "mounted"
    with image.open("wb") as file:
        file.truncate(size)
    mounted.mkdir()
    device = _run("losetup", "--find", "--show", image)  # exfat-fuse mounts nothing else
    try:
        _run("mkfs.exfat", device)
        _run("mount.exfat-fuse", device, mounted)
        try:
            yield mounted
        finally:
            _run("umount", mounted)
    finally:
        _run("losetup", "--detach", device)
        image.unlink()


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
