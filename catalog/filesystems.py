"""The identity of a mounted file system: its type, UUID and label, as the device itself and the system tell them.

Each source may be missing (no rights, a container, no udev), and each look has its bounds. The superblock comes
first: the system's own notes may be older than it is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from catalog.mountinfo import Mount

UDEV, BY_UUID, BY_LABEL = Path("/run/udev/data"), Path("/dev/disk/by-uuid"), Path("/dev/disk/by-label")
_SECONDS = 10.0  # for blkid to read a device
_MOST = 64 << 10  # bytes of a device's entry in udev's database
_ENTRIES = 10_000  # links in /dev/disk/by-uuid
_ESCAPED = re.compile(r"\\x([0-9a-fA-F]{2})")
_KINDS = {"fuseblk"}  # types of mounts that do not say what file system it is


class FileSystem(msgspec.Struct, frozen=True):
    """What is known of a file system. Empty: unknown."""

    file_system: str = ""
    uuid: str = ""
    label: str = ""


def file_system_of(mount: Mount, *, blkid: str | None = None) -> FileSystem:
    """The identity of what is mounted. Raises nothing: what can't be found out stays empty.

    `blkid` is the program to ask; without it, the one that is on this system.
    """
    kind = mount.file_system
    device = _device(mount)
    if device is None:
        return FileSystem(kind)
    found = FileSystem(kind)
    for look in (partial(_by_blkid, program=blkid), _by_udev, _by_links):
        more = look(device)
        found = FileSystem(
            more.file_system if kind in _KINDS and more.file_system else found.file_system,
            found.uuid or more.uuid,
            found.label or more.label,
        )
        if found.uuid:
            break
    return found


def _device(mount: Mount) -> Path | None:
    """The block device that is mounted; None if it is none, or can't be reached."""
    path = Path(os.fsdecode(mount.source))
    with suppress(OSError, ValueError):
        if path.is_absolute() and path.is_block_device():
            return path
    return None


def _by_blkid(device: Path, *, program: str | None) -> FileSystem:
    """What the superblock says, by `blkid -p`. It needs the right to read the device."""
    program = program or shutil.which("blkid", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if program is None:
        return FileSystem()
    command = [program, "--probe", "--output", "udev", "--usages", "filesystem", str(device)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return FileSystem()
    return _of_values(done.stdout.decode(errors="replace").splitlines())


def _by_udev(device: Path) -> FileSystem:
    """What udev noted when it saw the device."""
    with suppress(OSError):
        number = device.stat().st_rdev
        with (UDEV / f"b{os.major(number)}:{os.minor(number)}").open("rb") as file:
            text = file.read(_MOST).decode(errors="replace")
        return _of_values(line[2:] for line in text.splitlines() if line.startswith("E:"))
    return FileSystem()


def _of_values(lines: Iterable[str]) -> FileSystem:
    """The identity in lines `ID_FS_UUID=…`, as blkid and udev write them."""
    values = dict(line.partition("=")[::2] for line in lines)
    label = values.get("ID_FS_LABEL_ENC", "")
    return FileSystem(
        values.get("ID_FS_TYPE", "")[:100],
        _unescaped(values.get("ID_FS_UUID_ENC", "") or values.get("ID_FS_UUID", ""))[:100],
        (_unescaped(label) if label else values.get("ID_FS_LABEL", ""))[:300],
    )


def _by_links(device: Path) -> FileSystem:
    """What links to the device are called in /dev/disk/by-uuid and by-label."""
    return FileSystem("", _linked(BY_UUID, device), _linked(BY_LABEL, device))


def _linked(folder: Path, device: Path) -> str:
    with suppress(OSError):
        number = device.stat().st_rdev
        with os.scandir(folder) as entries:
            for n, entry in enumerate(entries):
                if n >= _ENTRIES:
                    break
                with suppress(OSError):
                    if entry.stat().st_rdev == number:
                        return _unescaped(entry.name)
    return ""


def _unescaped(text: str) -> str:
    """A text with udev's escapes of bytes (`\\x20`) undone; bytes that are not UTF-8 become `?`."""
    parts = _ESCAPED.split(text)
    data = b"".join(
        bytes([int(part, 16)]) if n % 2 else part.encode(errors="replace") for n, part in enumerate(parts)
    )
    return data.decode(errors="replace")
