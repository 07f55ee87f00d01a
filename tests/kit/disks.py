"""Small real file systems on loop devices, mounted for a test and gone after it."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

MAKE = {  # how to make each file system, with a size (MiB) that it can't be made below
    "btrfs": (["mkfs.btrfs", "-q", "--mixed"], 120),
    "xfs": (["mkfs.xfs", "-q"], 300),
    "ext4": (["mkfs.ext4", "-q", "-F", "-b", "4096"], 64),
}


class Disk:
    """A file system. `place` is where it is mounted, `image` the file that the device stands for."""

    def __init__(self, device: Path, place: Path, image: Path) -> None:
        self.device, self.place, self.image = device, place, image


def run(*command: str | Path) -> str:
    """Run a program that must succeed. Returns its stdout."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return done.stdout.strip()


@contextmanager
def attached(image: Path) -> Iterator[Path]:
    """A loop device of a file, for as long as the context and mounts of it last."""
    device = run("losetup", "--find", "--show", image)
    try:
        run("blockdev", "--setrw", device)  # the last user of the device may have left it read-only
        yield Path(device)
    finally:
        run("losetup", "--detach", device)


@contextmanager
def mounted(device: Path | str, place: Path, *options: str) -> Iterator[Path]:
    """A mount, at a folder that is made for it."""
    place.mkdir(parents=True, exist_ok=True)
    run("mount", *options, str(device), place)
    try:
        yield place
    finally:
        run("umount", "--lazy", place)


def is_free(device: Path) -> bool:
    """Whether nothing uses a device.

    A while after it is unmounted, it may not be: a mount namespace of another test began as a copy of all mounts,
    and keeps this one until it ends.
    """
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as e:
        if e.errno != errno.EBUSY:
            raise
        return False
    return True


@contextmanager
def disk(folder: Path, file_system: str, *, size: int = 0, mount: bool = True) -> Iterator[Disk]:
    """A new file system of at least `size` MiB, mounted at `folder/<file system>`. Its image is a sparse file."""
    command, least = MAKE[file_system]
    folder.mkdir(exist_ok=True)
    image, place = folder / f"{file_system}.image", folder / file_system
    with image.open("wb") as file:
        file.truncate(max(size, least) << 20)
    run(*command, image)
    with ExitStack() as stack:
        device = stack.enter_context(attached(image))
        if mount:
            stack.enter_context(mounted(device, place))
        yield Disk(device, place, image)
    os.unlink(image)
