"""Block devices of Linux: their geometry, and who uses them. By /sys and /proc; nothing here changes anything."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import NamedTuple

from catalog.errors import LocalError
from catalog.mountinfo import mounts

_SYS = Path("/sys/dev/block")
_BLKGETSIZE64, _BLKSSZGET, _BLKPBSZGET = 0x80081272, 0x1268, 0x127B


class Device(NamedTuple):
    """A block device. Sizes in bytes; `number` is `major:minor`."""

    path: Path
    number: str
    size: int
    logical_sector: int
    physical_sector: int
    model: str
    is_read_only: bool


class Use(NamedTuple):
    """A use of a device, or of a part of it: in words, and where it is mounted (empty: it isn't that)."""

    what: str
    place: bytes = b""
    file_system: str = ""
    is_read_only: bool = False
    device: str = ""  # number of the part

    def __str__(self) -> str:
        return self.what


def number_of(rdev: int) -> str:
    return f"{os.major(rdev)}:{os.minor(rdev)}"


def is_device(path: Path) -> bool:
    """Whether a path is a block device. Raises LocalError if it is nothing."""
    try:
        return stat.S_ISBLK(path.stat().st_mode)
    except OSError as e:
        raise LocalError(f"{path} can't be opened: {e.strerror}", "check the path") from e


def open_device(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a device or file. Raises LocalError."""
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except PermissionError as e:
        raise LocalError(f"{path} can't be opened: {e.strerror}", "run this as root") from e
    except OSError as e:
        raise LocalError(f"{path} can't be opened: {e.strerror}", "check the path") from e


def describe(path: Path, fd: int) -> Device:
    """The geometry of an open device. Raises LocalError if the system doesn't say it."""
    try:
        number = number_of(os.fstat(fd).st_rdev)
        return Device(
            path,
            number,
            _number(fd, _BLKGETSIZE64, 8),
            _number(fd, _BLKSSZGET, 4),
            _number(fd, _BLKPBSZGET, 4),
            _model(number),
            _text(_SYS / number / "ro") == "1",
        )
    except OSError as e:
        raise LocalError(f"the size of {path} can't be known: {e.strerror}", "name a disk or a partition") from e


def _number(fd: int, request: int, size: int) -> int:
    return int.from_bytes(fcntl.ioctl(fd, request, bytes(size)), "little")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _model(number: str) -> str:
    at = (_SYS / number).resolve()
    for folder in (at, at.parent):
        text = " ".join(filter(None, (_text(folder / "device" / "vendor"), _text(folder / "device" / "model"))))
        if text:
            return text[:100]
    return _text(at / "dm" / "name")[:100]


def parts_of(number: str) -> list[str]:
    """The numbers of a device's partitions."""
    try:
        return sorted(_text(p / "dev") for p in (_SYS / number).resolve().iterdir() if (p / "partition").exists())
    except OSError:
        return []


def whole_of(number: str) -> str:
    """The number of the disk of which a device is a partition; its own if it is none."""
    at = (_SYS / number).resolve()
    return _text(at.parent / "dev") if (at / "partition").exists() else number


def name_of(number: str) -> str:
    """`/dev/NAME` of a device, as the kernel calls it."""
    return "/dev/" + (_SYS / number).resolve().name.replace("!", "/")


def uses_of(number: str) -> list[Use]:
    """Who uses a device, any part of it, or (for a partition) the disk as a whole."""
    numbers = [number, *parts_of(number)]
    found = [use for one in numbers for use in _mounts(one) + _others(one)]
    whole = whole_of(number)
    if whole != number:
        found += _mounts(whole) + _others(whole)
    return found


def _mounts(number: str) -> list[Use]:
    """Where a device is mounted. Some file systems have numbers of their own: then by what was mounted there."""
    found = []
    for mount in mounts():
        if mount.device != number and _number_at(mount.source) != number:
            continue
        what = f"{name_of(number)} is mounted at {os.fsdecode(mount.place)}"
        read_only = "ro" in mount.super_options.split(",")
        found.append(Use(what, mount.place, mount.file_system, read_only, number))
    return found


def _number_at(path: bytes) -> str:
    """The number of the block device at a path; empty if there is none."""
    try:
        st = os.stat(path) if path.startswith(b"/") else None
    except (OSError, ValueError):
        return ""
    return number_of(st.st_rdev) if st is not None and stat.S_ISBLK(st.st_mode) else ""


def _others(number: str) -> list[Use]:
    """Devices on top of one (LVM, RAID, LUKS), swap, and loop devices that read it."""
    found = []
    name = name_of(number)
    try:
        for holder in sorted((_SYS / number / "holders").iterdir()):
            known = _text(holder / "dm" / "name")
            what = f"{name} is part of /dev/{holder.name}" + (f" ({known})" if known else "")
            found.append(Use(what, device=number))
    except OSError:
        pass
    for line in _text(Path("/proc/swaps")).splitlines()[1:]:
        if _number_at(os.fsencode(line.split()[0])) == number:
            found.append(Use(f"{name} is swap space", device=number))
    for loop in Path("/sys/block").glob("loop*/loop/backing_file"):
        if _number_at(os.fsencode(_text(loop))) == number:
            found.append(Use(f"{name} is read by /dev/{loop.parts[3]}", device=number))
    return found


def is_claimed(path: Path) -> bool:
    """Whether something has a device for itself, also if no table says so: a btrfs of many disks, say."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as e:
        return e.errno == errno.EBUSY
    return False


def claim(path: Path, flags: int) -> int:
    """A descriptor of a device that nothing else may mount or build on while it is open.

    Raises LocalError that names who uses it.
    """
    try:
        number = number_of(path.stat().st_rdev)
    except OSError as e:
        raise LocalError(f"{path} can't be opened: {e.strerror}", "check the path") from e
    uses = uses_of(number)
    advice = "unmount it, or take it out of what uses it, and run this again"
    if uses:
        raise LocalError(f"{path} is in use: {', '.join(map(str, uses[:5]))}", advice)
    try:
        return os.open(path, flags | os.O_EXCL | os.O_CLOEXEC)
    except OSError as e:
        if e.errno == errno.EBUSY:
            raise LocalError(f"{path} is in use, also if this machine's tables don't say by what", advice) from e
        if e.errno == errno.EROFS:
            raise LocalError(f"{path} is read-only", "name another device") from e
        raise LocalError(f"{path} can't be opened: {e.strerror}", "run this as root") from e
