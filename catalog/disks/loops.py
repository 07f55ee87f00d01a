"""Loop devices, by the kernel's own calls: atomic, and what a killed process leaves goes by itself.

A loop device of ours carries MARK in its status, so that nobody else's is ever detached.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from catalog.errors import LocalError

MARK = b"rpdrive"
_CONTROL, _SYS = "/dev/loop-control", Path("/sys/block")
_CLR_FD, _GET_STATUS64, _CONFIGURE, _GET_FREE = 0x4C01, 0x4C05, 0x4C0A, 0x4C82
_READ_ONLY, _AUTOCLEAR, _PARTSCAN = 1, 4, 8
_INFO = struct.Struct("=QQQQQIIII64s64s32sQQ")  # struct loop_info64
_CONFIG = struct.Struct(f"=II{_INFO.size}s64x")  # struct loop_config
_BLKPG, _ADD_PARTITION = 0x1269, 1
_PARTITION = struct.Struct("@qqi64s64s4x")  # struct blkpg_partition
_ARGUMENT = struct.Struct("@iiiP")  # struct blkpg_ioctl_arg
_TRIES = 50  # another process may take the number that the kernel has just called free


class Loop(NamedTuple):
    """A loop device in use, and the file that it reads, as the kernel knows its path. `offset` in bytes."""

    path: Path
    number: str  # major:minor
    file: bytes
    offset: int


def attach(
    file: int, *, offset: int = 0, size: int = 0, sector: int = 512, partitions: bool = False, keep: bool = False
) -> tuple[Path, int]:
    """Put a read-only loop device over an open file. Returns its path, and a descriptor of it.

    Unless `keep`, it is detached by the kernel once nothing has it open or mounted, whoever was killed. Raises
    LocalError.
    """
    flags = _READ_ONLY | (0 if keep else _AUTOCLEAR) | (_PARTSCAN if partitions else 0)
    info = _INFO.pack(0, 0, 0, offset, size, 0, 0, 0, flags, MARK, b"", b"", 0, 0)
    for _ in range(_TRIES):
        path = Path(f"/dev/loop{_free()}")
        try:
            loop = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as e:
            raise LocalError(f"{path} can't be opened: {e.strerror}", "run this as root") from e
        try:
            fcntl.ioctl(loop, _CONFIGURE, _CONFIG.pack(file, sector, info))
            return path, loop
        except OSError as e:
            os.close(loop)
            if e.errno != errno.EBUSY:
                raise LocalError(
                    f"no loop device can be put over the image: {e.strerror}",
                    "loop devices need Linux 5.8 or later",
                ) from e
    raise LocalError("no loop device is free", "detach some: `losetup -l` lists them")


def add_partition(loop: int, number: int, start: int, size: int) -> None:
    """Make a partition of an open loop device known to a kernel that hasn't found it. No effect if it has."""
    row = ctypes.create_string_buffer(_PARTITION.pack(start, size, number, b"", b""), _PARTITION.size)
    with suppress(OSError):  # it is there
        fcntl.ioctl(loop, _BLKPG, _ARGUMENT.pack(_ADD_PARTITION, 0, len(row), ctypes.addressof(row)))


def _free() -> int:
    try:
        control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    except OSError as e:
        advice = "run this as root" if e.errno == errno.EACCES else "load the module: `modprobe loop`"
        raise LocalError(f"{_CONTROL} can't be opened: {e.strerror}", advice) from e
    try:
        return fcntl.ioctl(control, _GET_FREE)
    except OSError as e:
        raise LocalError(f"no loop device is free: {e.strerror}", "detach some: `losetup -l` lists them") from e
    finally:
        os.close(control)


def loops() -> Iterator[Loop]:
    """The loop devices in use, whoever made them."""
    for folder in sorted(_SYS.glob("loop*/loop"), key=lambda p: (len(p.parts[3]), p)):
        name = folder.parts[3]
        try:
            file = (folder / "backing_file").read_bytes().rstrip(b"\n")
            offset = int((folder / "offset").read_text())
            number = (folder.parent / "dev").read_text().strip()
        except (OSError, ValueError):
            continue  # detached meanwhile
        yield Loop(Path("/dev") / name, number, file, offset)


def below(place: bytes) -> list[Loop]:
    """The loop devices whose files are below a folder (absolute, without symlinks)."""
    top = place.rstrip(b"/") + b"/"
    return [loop for loop in loops() if loop.file.startswith(top)]


def is_ours(path: Path) -> bool:
    """Whether `attach` has made a loop device. False where this user may not ask."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        status = bytearray(_INFO.size)
        fcntl.ioctl(fd, _GET_STATUS64, status)
        name: bytes = _INFO.unpack(status)[9]
        return name.rstrip(b"\0") == MARK
    except OSError:
        return False
    finally:
        os.close(fd)


def detach(path: Path) -> None:
    """Detach a loop device; one in use goes once nothing uses it any more. Raises LocalError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _CLR_FD)
        finally:
            os.close(fd)
    except OSError as e:
        if e.errno != errno.ENXIO:  # it is detached
            raise LocalError(f"{path} can't be detached: {e.strerror}", f"run `losetup -d {path}` as root") from e
